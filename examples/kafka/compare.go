package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A contender is a broker that compare measures.
type contender struct {
	name string
	argv func(addr, dir string) []string
}

// A measured contender. Rates are per second, the best of the rounds.
type measured struct {
	produce, consume map[int]float64 // records, by size
	single           float64
	rss              int // MB
}

const comparePartitions = 6

// compare runs this broker and franz-go's fake one under the same client and
// prints the rates and their ratios.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	size := f.Int("mb", 800, "megabytes to produce for each size of records")
	rounds := f.Int("rounds", 3, "times to measure each broker; the best counts")
	span := f.Duration("single", 2*time.Second, "how long to produce one record at a time")
	dir := f.String("dir", "", "directory for the brokers' data; none means a temporary one")
	asJSON := f.Bool("json", false, "print one JSON object for each broker and round")
	if err := f.Parse(args); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "compare"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}
	contenders := []contender{
		{"ashlar, sync before acknowledgement", func(addr, dir string) []string {
			return []string{"kafka", "-addr", "127.0.0.1:0", "-kafka", addr, "-brokers", "1", "-data", dir, "-sync", "each"}
		}},
		{"ashlar, sync each second", func(addr, dir string) []string {
			return []string{"kafka", "-addr", "127.0.0.1:0", "-kafka", addr, "-brokers", "1", "-data", dir, "-sync", "interval"}
		}},
		{"kfake, data directory", func(addr, dir string) []string {
			return []string{"kafka", "kfake", "-kafka", addr, "-data", dir}
		}},
		{"kfake, SyncWrites", func(addr, dir string) []string {
			return []string{"kafka", "kfake", "-kafka", addr, "-data", dir, "-sync"}
		}},
	}
	if !*asJSON {
		fmt.Fprintf(stdout, "franz-go client without compression, acks=all, idempotent; %d partitions, %d MB a size, best of %d rounds\n\n", comparePartitions, *size, *rounds)
	}
	best := make([]measured, len(contenders))
	for round := range *rounds {
		for i := range contenders { // in turns, so that a busy moment of the machine meets all
			c := contenders[(i+round)%len(contenders)]
			m, err := measure(ctx, self, c, filepath.Join(*dir, fmt.Sprint(round, "-", i)), *size<<20, *span)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if *asJSON {
				if err := json.NewEncoder(stdout).Encode(m.result(c.name, round)); err != nil {
					return err
				}
			}
			best[(i+round)%len(contenders)].keep(m)
		}
	}
	if !*asJSON {
		report(stdout, contenders, best)
	}
	return nil
}

var compareSizes = []int{100, 1000}

// A compareResult is a line of compare -json: records a second, and MB.
type compareResult struct {
	Broker      string
	Round       int
	Produce100  float64
	Produce1000 float64
	OneByOne    float64
	Consume100  float64
	Consume1000 float64
	RSS         int
}

func (m *measured) result(broker string, round int) compareResult {
	return compareResult{broker, round, m.produce[100], m.produce[1000], m.single, m.consume[100], m.consume[1000], m.rss}
}

// keep takes the better of two results.
func (m *measured) keep(other measured) {
	if m.produce == nil {
		*m = other
		return
	}
	for _, size := range compareSizes {
		m.produce[size] = max(m.produce[size], other.produce[size])
		m.consume[size] = max(m.consume[size], other.consume[size])
	}
	m.single, m.rss = max(m.single, other.single), max(m.rss, other.rss)
}

func report(stdout io.Writer, contenders []contender, best []measured) {
	fmt.Fprintf(stdout, "%-36s %12s %12s %12s %12s %12s %8s\n", "broker", "produce 100", "produce 1000", "one by one", "consume 100", "consume 1000", "RSS")
	for i, c := range contenders {
		m := best[i]
		fmt.Fprintf(stdout, "%-36s %10.0f/s %10.0f/s %10.0f/s %10.0f/s %10.0f/s %5d MB\n", c.name, m.produce[100], m.produce[1000], m.single, m.consume[100], m.consume[1000], m.rss)
	}
	ratio := func(name string, a, b measured) {
		fmt.Fprintf(stdout, "%-36s %11.2f× %11.2f× %11.2f× %11.2f× %11.2f×\n", name, a.produce[100]/b.produce[100], a.produce[1000]/b.produce[1000], a.single/b.single, a.consume[100]/b.consume[100], a.consume[1000]/b.consume[1000])
	}
	fmt.Fprintln(stdout)
	ratio("sync before ack / data directory", best[0], best[2])
	ratio("sync before ack / SyncWrites", best[0], best[3])
	ratio("sync each second / data directory", best[1], best[2])
}

// measure starts a broker, measures it and stops it.
func measure(ctx context.Context, self string, c contender, dir string, bytes int, span time.Duration) (m measured, err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return m, err
	}
	addr := free.Addr().String()
	free.Close()
	server := exec.CommandContext(ctx, self, c.argv(addr, dir)...)
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	if err := server.Start(); err != nil {
		return m, err
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
		_ = os.RemoveAll(dir)
	}()
	if err := answers(ctx, addr); err != nil {
		return m, err
	}
	m.produce, m.consume = map[int]float64{}, map[int]float64{}
	for _, size := range compareSizes {
		topic := fmt.Sprint("size", size)
		if m.produce[size], err = produceRate(ctx, addr, topic, size, bytes/size); err != nil {
			return m, fmt.Errorf("produce: %w", err)
		}
		if m.consume[size], err = consumeRate(ctx, addr, topic, bytes/size); err != nil {
			return m, fmt.Errorf("consume: %w", err)
		}
	}
	if m.single, err = singleRate(ctx, addr, span); err != nil {
		return m, fmt.Errorf("one by one: %w", err)
	}
	m.rss = residentMB(server.Process.Pid)
	return m, nil
}

// answers waits until a broker does.
func answers(ctx context.Context, addr string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer client.Close()
	for try := 0; ; try++ {
		if err := client.Ping(ctx); err == nil || ctx.Err() != nil || try == 100 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func produceRate(ctx context.Context, addr, topic string, size, records int) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(200_000))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, comparePartitions, 1, nil, topic); err != nil {
		return 0, err
	}
	var failed atomic.Pointer[error]
	value := make([]byte, size)
	start := time.Now()
	for range records {
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(records) / time.Since(start).Seconds(), nil
}

func consumeRate(ctx context.Context, addr, topic string, records int) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	start := time.Now()
	for got := 0; got < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		got += fetches.NumRecords()
	}
	return float64(records) / time.Since(start).Seconds(), nil
}

func singleRate(ctx context.Context, addr string, span time.Duration) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("single"), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1, 1, nil, "single"); err != nil {
		return 0, err
	}
	n := 0
	start := time.Now()
	for ; time.Since(start) < span; n++ {
		if err := client.ProduceSync(ctx, &kgo.Record{Value: make([]byte, 100)}).FirstErr(); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// runKfake runs franz-go's fake broker until it is told to stop.
func runKfake(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("kfake", flag.ContinueOnError)
	f.SetOutput(stderr)
	addr := f.String("kafka", "127.0.0.1:9092", "address of the broker")
	data := f.String("data", "", "directory; none means memory")
	sync := f.Bool("sync", false, "sync every write")
	if err := f.Parse(args); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(*addr)
	if err != nil || host != "127.0.0.1" {
		return errors.New("-kafka: kfake listens on 127.0.0.1 only")
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	options := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(number)}
	if *data != "" {
		if err := os.MkdirAll(*data, 0o700); err != nil {
			return err
		}
		options = append(options, kfake.DataDir(*data))
	}
	if *sync {
		options = append(options, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return err
	}
	defer cluster.Close()
	fmt.Fprintln(stdout, "kfake listens at", strings.Join(cluster.ListenAddrs(), ","))
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}

// residentMB reads /proc; elsewhere it is 0.
func residentMB(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb := 0
	_, _ = fmt.Sscan(rest, &kb)
	return kb >> 10
}
