package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// kcat runs kcat against brokers and returns what it prints.
func kcat(t *testing.T, brokers, input string, args ...string) string {
	t.Helper()
	path := services.Find(t, "kcat", "kafkacat")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, path, append([]string{"-b", brokers, "-X", "broker.address.family=v4"}, args...)...)
	command.Stdin = strings.NewReader(input)
	var out, failures bytes.Buffer
	command.Stdout, command.Stderr = &out, &failures
	require.NoError(t, command.Run(), "kcat %q: %s", args, failures.String())
	return out.String()
}

// kcat is librdkafka, which most languages' clients are made of.
func TestKcat(t *testing.T) {
	t.Parallel()
	addr := addrOf(startBroker(t))
	require.Contains(t, kcat(t, addr, "", "-L"), "1 brokers:")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		var lines strings.Builder
		for i := range 300 {
			lines.WriteString(fmt.Sprintf("key%d:value %d of %s\n", i, i, codec))
		}
		topic := "codec-" + codec
		kcat(t, addr, lines.String(), "-P", "-t", topic, "-K:", "-z", codec, "-p", "0")
		require.Equal(t, lines.String(), kcat(t, addr, "", "-C", "-t", topic, "-K:", "-e", "-q"), codec)
	}
	kcat(t, addr, "once\n", "-P", "-t", "idempotent", "-p", "1", "-X", "enable.idempotence=true", "-H", "a=b")
	require.Equal(t, "a=b 1/0 once\n", kcat(t, addr, "", "-C", "-t", "idempotent", "-e", "-q", "-f", "%h %p/%o %s\n"))
	for _, acks := range []string{"0", "1", "all"} {
		kcat(t, addr, acks+"\n", "-P", "-t", "acks", "-p", "0", "-X", "acks="+acks)
	}
	require.Equal(t, "0\n1\nall\n", kcat(t, addr, "", "-C", "-t", "acks", "-p", "0", "-o", "beginning", "-c", "3", "-q"), "acks=0 is visible in a moment")
	require.Equal(t, "acks [0] offset 3\n", kcat(t, addr, "", "-Q", "-t", "acks:0:-1"))
	require.Equal(t, "acks [0] offset 0\n", kcat(t, addr, "", "-Q", "-t", "acks:0:1"))
	require.Equal(t, "all\n", kcat(t, addr, "", "-C", "-t", "acks", "-p", "0", "-o", "-1", "-e", "-q"))
}

func addrOf(b *broker) string { return b.Listener.Addr().String() }

func saramaConfig(version sarama.KafkaVersion) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = version
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	return c
}

func TestSarama(t *testing.T) {
	for _, version := range []sarama.KafkaVersion{sarama.DefaultVersion, sarama.MaxVersion} {
		t.Run(version.String(), func(t *testing.T) {
			addrs := []string{addrOf(startBroker(t))}
			admin, err := sarama.NewClusterAdmin(addrs, saramaConfig(version))
			require.NoError(t, err)
			defer admin.Close()
			require.NoError(t, admin.CreateTopic("t", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false))
			err = admin.CreateTopic("t", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false)
			require.ErrorIs(t, err, sarama.ErrTopicAlreadyExists)
			codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD}
			for i, codec := range codecs {
				config := saramaConfig(version)
				config.Producer.Compression = codec
				if config.Producer.Idempotent = i%2 == 1; config.Producer.Idempotent {
					config.Net.MaxOpenRequests = 1
				}
				producer, err := sarama.NewSyncProducer(addrs, config)
				require.NoError(t, err)
				_, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat(codec.String(), 100))})
				require.NoError(t, err)
				require.EqualValues(t, i, offset)
				require.NoError(t, producer.Close())
			}
			consumer, err := sarama.NewConsumer(addrs, saramaConfig(version))
			require.NoError(t, err)
			defer consumer.Close()
			part, err := consumer.ConsumePartition("t", 0, sarama.OffsetOldest)
			require.NoError(t, err)
			defer part.Close()
			for _, codec := range codecs {
				select {
				case m := <-part.Messages():
					require.Equal(t, strings.Repeat(codec.String(), 100), string(m.Value))
				case <-time.After(30 * time.Second):
					t.Fatal("no message")
				}
			}
			topics, err := admin.ListTopics()
			require.NoError(t, err)
			require.Contains(t, topics, "t")
			require.NoError(t, admin.DeleteTopic("t"))
		})
	}
}

// Topics and their settings, through franz-go's administrative client.
func TestTopicsAndSettings(t *testing.T) {
	b := startBroker(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(addrOf(b)), kgo.ProducerBatchCompression(kgo.NoCompression()))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	ctx := t.Context()

	_, err = admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": new("1000"), "cleanup.policy": new("compact")}, "a")
	require.NoError(t, err)
	for name, test := range map[string]struct {
		topic      string
		partitions int32
		replicas   int16
		config     map[string]*string
		want       *kerr.Error
	}{
		"twice":        {"a", 1, 1, nil, kerr.TopicAlreadyExists},
		"bad name":     {"a/b", 1, 1, nil, kerr.InvalidTopicException},
		"dots":         {"..", 1, 1, nil, kerr.InvalidTopicException},
		"long name":    {strings.Repeat("x", 250), 1, 1, nil, kerr.InvalidTopicException},
		"no partition": {"b", 0, 1, nil, kerr.InvalidPartitions},
		"too many":     {"b", 1 << 20, 1, nil, kerr.InvalidPartitions},
		"replicas":     {"b", 1, 2, nil, kerr.InvalidReplicationFactor},
		"setting":      {"b", 1, 1, map[string]*string{"no.such": new("1")}, kerr.InvalidConfig},
		"value":        {"b", 1, 1, map[string]*string{"retention.ms": new("soon")}, kerr.InvalidConfig},
	} {
		_, err := admin.CreateTopic(ctx, test.partitions, test.replicas, test.config, test.topic)
		require.ErrorIs(t, err, test.want, name)
	}

	configs, err := admin.DescribeTopicConfigs(ctx, "a")
	require.NoError(t, err)
	value := func(key string) string {
		i := slices.IndexFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == key })
		require.GreaterOrEqual(t, i, 0, key)
		return configs[0].Configs[i].MaybeValue()
	}
	require.Equal(t, "1000", value("retention.ms"))
	require.Equal(t, "compact", value("cleanup.policy"))
	require.Equal(t, "1048588", value("max.message.bytes"))

	altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "max.message.bytes", Value: new("200")},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: new("delete")},
	}, "a")
	require.NoError(t, err)
	require.NoError(t, altered[0].Err)
	configs, err = admin.DescribeTopicConfigs(ctx, "a")
	require.NoError(t, err)
	require.Equal(t, "604800000", value("retention.ms"))
	require.Equal(t, "compact,delete", value("cleanup.policy"))
	require.Eventually(t, func() bool {
		err := client.ProduceSync(ctx, &kgo.Record{Topic: "a", Key: []byte("k"), Value: make([]byte, 1000)}).FirstErr()
		return errors.Is(err, kerr.MessageTooLarge)
	}, 20*time.Second, 10*time.Millisecond)
	err = client.ProduceSync(ctx, &kgo.Record{Topic: "a", Value: []byte("no key")}).FirstErr()
	require.ErrorIs(t, err, kerr.InvalidRecord, "a topic that is compacted needs keys")

	grown, err := admin.UpdatePartitions(ctx, 5, "a")
	require.NoError(t, err)
	require.NoError(t, grown.Error())
	topics, err := admin.ListTopics(ctx)
	require.NoError(t, err)
	require.Len(t, topics["a"].Partitions, 5)
	brokers, err := admin.ListBrokers(ctx)
	require.NoError(t, err)
	require.Len(t, brokers, 1)

	_, err = admin.DeleteTopic(ctx, "a")
	require.NoError(t, err)
	_, err = admin.DeleteTopic(ctx, "a")
	require.ErrorIs(t, err, kerr.UnknownTopicOrPartition)
	require.Empty(t, ask[*kmsg.MetadataResponse](dial(t, b), kmsg.NewPtrMetadataRequest(), 12).Topics)
	require.Eventually(t, func() bool { return len(b.all()) == 0 }, 20*time.Second, 10*time.Millisecond, "the data goes too")
}
