package group

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestBytesAreKafkas compares with encodings written down by hand from Kafka's
// message definitions.
func TestBytesAreKafkas(t *testing.T) {
	for _, c := range []struct {
		name string
		want string
		got  func() ([]byte, error)
	}{
		{"subscription 0", "\x00\x00 \x00\x00\x00\x01 \x00\x01a \xff\xff\xff\xff", func() ([]byte, error) {
			return AppendSubscription(nil, Subscription{Topics: []string{"a"}})
		}},
		{"subscription 3", "\x00\x03 \x00\x00\x00\x01 \x00\x01a \x00\x00\x00\x01u \x00\x00\x00\x01 \x00\x01a \x00\x00\x00\x02 \x00\x00\x00\x00 \x00\x00\x00\x02 \x00\x00\x00\x07 \xff\xff", func() ([]byte, error) {
			return AppendSubscription(nil, Subscription{Version: 3, Topics: []string{"a"}, UserData: []byte("u"), Owned: parts("a0", "a2"), Generation: 7})
		}},
		{"assignment 0", "\x00\x00 \x00\x00\x00\x02 \x00\x01a \x00\x00\x00\x02 \x00\x00\x00\x00 \x00\x00\x00\x01 \x00\x01b \x00\x00\x00\x01 \x00\x00\x00\x03 \xff\xff\xff\xff", func() ([]byte, error) {
			return AppendAssignment(nil, Assignment{Partitions: parts("a0", "b3", "a1")})
		}},
		{"sticky data 1", "\x00\x00\x00\x01 \x00\x01a \x00\x00\x00\x01 \x00\x00\x00\x02 \x00\x00\x00\x09", func() ([]byte, error) {
			return AppendStickyData(nil, parts("a2"), 9)
		}},
		{"offset key", "\x00\x01 \x00\x01g \x00\x01a \x00\x00\x00\x02", func() ([]byte, error) {
			return AppendKey(nil, Key{"g", true, TopicPartition{"a", 2}})
		}},
		{"group key", "\x00\x02 \x00\x01g", func() ([]byte, error) { return AppendKey(nil, Key{Group: "g"}) }},
		{"offset 3", "\x00\x03 \x00\x00\x00\x00\x00\x00\x00\x05 \xff\xff\xff\xff \x00\x01m \x00\x00\x00\x00\x00\x00\x03\xe8", func() ([]byte, error) {
			return AppendCommitted(nil, Committed{Offset: 5, LeaderEpoch: -1, Metadata: "m", Time: time.UnixMilli(1000)})
		}},
		{"group 3", "\x00\x03 \x00\x08consumer \x00\x00\x00\x02 \x00\x05range \xff\xff \x00\x00\x00\x00\x00\x00\x03\xe8 \x00\x00\x00\x01 \x00\x01m \xff\xff \x00\x01c \x00\x01h \x00\x00\x00\x02 \x00\x00\x00\x01 \x00\x00\x00\x01x \x00\x00\x00\x00", func() ([]byte, error) {
			return AppendSnapshot(nil, Snapshot{ProtocolType: "consumer", Generation: 2, Protocol: "range", Since: time.UnixMilli(1000),
				Members: []MemberSnapshot{{ID: "m", ClientID: "c", ClientHost: "h", RebalanceTimeout: 2e6, SessionTimeout: 1e6, Metadata: []byte("x")}}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.got()
			require.NoError(t, err)
			require.Equal(t, []byte(strings.ReplaceAll(c.want, " ", "")), got)
		})
	}
}

func TestDecodersAreStrict(t *testing.T) {
	subscription, err := AppendSubscription(nil, Subscription{Version: 3, Topics: []string{"topic"}, Owned: parts("a0"), Rack: "r"})
	require.NoError(t, err)
	assignment, err := AppendAssignment(nil, Assignment{Version: 1, Partitions: parts("a0", "a1"), UserData: []byte("x")})
	require.NoError(t, err)
	snapshot, err := AppendSnapshot(nil, Snapshot{ProtocolType: "consumer", Members: []MemberSnapshot{{ID: "m"}}})
	require.NoError(t, err)
	committed, err := AppendCommitted(nil, Committed{Metadata: "m", Time: time.UnixMilli(0), Expires: time.UnixMilli(5)})
	require.NoError(t, err)
	key, err := AppendKey(nil, Key{"g", true, TopicPartition{"a", 2}})
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		src    []byte
		decode func([]byte) error
	}{
		{"subscription", subscription, func(b []byte) error { _, err := DecodeSubscription(b); return err }},
		{"assignment", assignment, func(b []byte) error { _, err := DecodeAssignment(b); return err }},
		{"group", snapshot, func(b []byte) error { _, err := DecodeSnapshot(b); return err }},
		{"offset", committed, func(b []byte) error { _, err := DecodeCommitted(b); return err }},
		{"key", key, func(b []byte) error { _, err := DecodeKey(b); return err }},
	} {
		require.NoError(t, c.decode(c.src))
		for n := range c.src {
			if err := c.decode(c.src[:n]); err == nil && n > 0 {
				t.Errorf("%s: %d of %d bytes decode", c.name, n, len(c.src))
			}
		}
		var malformed *MalformedError
		err := c.decode(append(bytes.Clone(c.src), 0))
		require.ErrorAs(t, err, &malformed)
		require.ErrorIs(t, err, ErrMalformed)
		require.Equal(t, c.name, malformed.What)
		require.Contains(t, err.Error(), "left over")
	}
	_, err = DecodeSubscription([]byte("\x00\x00\x7f\xff\xff\xff"))
	require.EqualError(t, err, "group: subscription: array longer than the input at byte 6")
	_, err = DecodeSubscription([]byte("\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff"))
	require.EqualError(t, err, "group: subscription: null string at byte 8")
	twice, _ := AppendSnapshot(nil, Snapshot{Members: []MemberSnapshot{{ID: "m"}, {ID: "m"}}})
	_, err = DecodeSnapshot(twice)
	require.ErrorContains(t, err, "a member twice")
	_, err = AppendSubscription(nil, Subscription{Topics: []string{strings.Repeat("x", 40_000)}})
	require.ErrorIs(t, err, ErrMalformed)
	_, err = AppendSubscription(nil, Subscription{Version: 4})
	require.ErrorIs(t, err, ErrMalformed)
}

// TestNewerVersions of subscriptions and assignments have fields that are
// passed over, as Kafka's clients do.
func TestNewerVersions(t *testing.T) {
	b, _ := AppendSubscription(nil, Subscription{Version: 3, Topics: []string{"a"}, Generation: 4, Rack: "r"})
	b[1] = 9
	s, err := DecodeSubscription(append(b, "future"...))
	require.NoError(t, err)
	require.Equal(t, Subscription{Version: 9, Topics: []string{"a"}, Generation: 4, Rack: "r"}, s)
	a, err := DecodeAssignment(nil)
	require.NoError(t, err)
	require.Empty(t, a.Partitions)
}
