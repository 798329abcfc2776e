package kafka

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicSettings are the settings of a topic in a form to work with.
type topicSettings struct {
	retainAge   time.Duration // 0 for ever
	retainBytes int64         // of each partition, 0 without bound
	deletes     bool          // old segments
	compacts    bool          // by key
	segment     int64
	segmentAge  time.Duration
	minISR      int
	maxMessage  int // bytes of a batch
	appendTime  bool
}

// A setting is one that clients may read and change.
type setting struct {
	name     string
	fallback string
	kind     kmsg.ConfigType
	what     string
	check    func(string) error
}

var topicSettingsList = []setting{
	{"cleanup.policy", "delete", kmsg.ConfigTypeList, "what happens to old records: delete, compact or both", oneOf("delete", "compact", "compact,delete", "delete,compact")},
	{"compression.type", "producer", kmsg.ConfigTypeString, "batches are kept as the producer compressed them", oneOf("producer")},
	{"max.message.bytes", "1048588", kmsg.ConfigTypeInt, "the largest batch", between(1, largestBatch)},
	{"message.timestamp.type", "CreateTime", kmsg.ConfigTypeString, "whose clock: CreateTime or LogAppendTime", oneOf("CreateTime", "LogAppendTime")},
	{"min.insync.replicas", "1", kmsg.ConfigTypeInt, "replicas that must be in sync for acks=all", between(1, 100)},
	{"retention.bytes", "-1", kmsg.ConfigTypeLong, "the size of a partition beyond which old segments go; -1 without bound", between(-1, math.MaxInt64)},
	{"retention.ms", "604800000", kmsg.ConfigTypeLong, "the age at which old segments go; -1 keeps them", between(-1, math.MaxInt64)},
	{"segment.bytes", "67108864", kmsg.ConfigTypeInt, "the size of a segment", between(14, math.MaxInt32)},
	{"segment.ms", "604800000", kmsg.ConfigTypeLong, "the age at which a segment ends", between(1, math.MaxInt64)},
}

func settingCalled(name string) *setting {
	i := slices.IndexFunc(topicSettingsList, func(s setting) bool { return s.name == name })
	if i < 0 {
		return nil
	}
	return &topicSettingsList[i]
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("%q is none of %s", v, strings.Join(values, ", "))
		}
		return nil
	}
}

func between(low, high int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is not a number from %d to %d", v, low, high)
		}
		return nil
	}
}

// checkSettings returns why the settings cannot be those of a topic.
func checkSettings(config map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(config)) {
		s := settingCalled(name)
		if s == nil {
			return fmt.Errorf("unknown topic config %q", name)
		}
		if err := s.check(config[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// settings reads what checkSettings let through.
func (t *topic) settings() topicSettings {
	text := func(name string) string {
		if v, ok := t.Config[name]; ok {
			return v
		}
		return settingCalled(name).fallback
	}
	number := func(name string) int64 {
		n, err := strconv.ParseInt(text(name), 10, 64)
		if err != nil {
			n, _ = strconv.ParseInt(settingCalled(name).fallback, 10, 64)
		}
		return n
	}
	span := func(name string) time.Duration {
		return time.Duration(min(max(number(name), 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	policy := text("cleanup.policy")
	return topicSettings{
		retainAge:   span("retention.ms"),
		retainBytes: max(number("retention.bytes"), 0),
		deletes:     strings.Contains(policy, "delete"),
		compacts:    strings.Contains(policy, "compact"),
		segment:     max(number("segment.bytes"), 16<<10),
		segmentAge:  span("segment.ms"),
		minISR:      int(number("min.insync.replicas")),
		maxMessage:  int(number("max.message.bytes")),
		appendTime:  text("message.timestamp.type") == "LogAppendTime",
	}
}

// alterList adds items to a list or takes them from it.
func alterList(list, items string, add bool) string {
	have := strings.Split(list, ",")
	for item := range strings.SplitSeq(items, ",") {
		at := slices.Index(have, item)
		switch {
		case add && at < 0:
			have = append(have, item)
		case !add && at >= 0:
			have = slices.Delete(have, at, at+1)
		}
	}
	return strings.Join(have, ",")
}

// settings are what a broker says about itself; they are its flags.
func (b *broker) settings() []setting {
	return []setting{
		{name: "broker.id", fallback: fmt.Sprint(b.ID), kind: kmsg.ConfigTypeInt, what: "the number of this broker"},
		{name: "log.dirs", fallback: b.logsDir(), kind: kmsg.ConfigTypeString, what: "where the partitions are"},
		{name: "num.partitions", fallback: fmt.Sprint(b.Defaults.partitions), kind: kmsg.ConfigTypeInt, what: "partitions of a topic that says nothing itself"},
		{name: "default.replication.factor", fallback: fmt.Sprint(b.Defaults.replicas), kind: kmsg.ConfigTypeInt, what: "replicas of a topic that says nothing itself"},
		{name: "auto.create.topics.enable", fallback: fmt.Sprint(b.Defaults.create), kind: kmsg.ConfigTypeBoolean, what: "whether topics appear when they are asked for"},
		{name: "socket.request.max.bytes", fallback: fmt.Sprint(b.limits.request), kind: kmsg.ConfigTypeInt, what: "the largest request"},
		{name: "fetch.max.bytes", fallback: fmt.Sprint(b.limits.fetch), kind: kmsg.ConfigTypeInt, what: "records in one response"},
		{name: "max.connections", fallback: fmt.Sprint(b.limits.conns), kind: kmsg.ConfigTypeInt, what: "connections at a time"},
		{name: "connections.max.idle.ms", fallback: fmt.Sprint(b.limits.idle.Milliseconds()), kind: kmsg.ConfigTypeLong, what: "how long a connection may say nothing"},
		{name: "queued.max.request.bytes", fallback: fmt.Sprint(b.limits.inFlight), kind: kmsg.ConfigTypeLong, what: "memory for requests and responses"},
	}
}
