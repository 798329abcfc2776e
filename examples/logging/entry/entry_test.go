package entry

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sample() Packet {
	labels := MakeLabels("host", "web-1", "app", "nginx")
	t := time.Unix(1_800_000_000, 123)
	return Packet{Labels: labels, Entries: []Entry{
		{Time: t, Labels: labels, Level: Error, Line: "disk full"},
		{Time: t.Add(-time.Second), Labels: labels, Line: "", Fields: []Field{{"status", "500"}, {"empty", ""}}},
		{Time: time.Unix(0, -5), Labels: labels, Level: Fatal, Line: "größer\nals eine Zeile\x00"},
	}}
}

func TestPacketsComeBackAsTheyWere(t *testing.T) {
	for _, p := range []Packet{sample(), {}, {Labels: MakeLabels("a", "b"), Entries: []Entry{}}} {
		got, err := Decode(Append(nil, p))
		require.NoError(t, err)
		require.Equal(t, p.Labels.String(), got.Labels.String())
		require.Len(t, got.Entries, len(p.Entries))
		for i := range p.Entries {
			want := p.Entries[i]
			require.True(t, want.Time.Equal(got.Entries[i].Time))
			want.Time = got.Entries[i].Time
			require.Equal(t, want, got.Entries[i])
		}
	}
}

// Every prefix of a packet, and every packet with one byte changed, is refused
// or is another packet, and never ends the program.
func TestDamagedPackets(t *testing.T) {
	whole := Append(nil, sample())
	for n := range whole {
		_, err := Decode(whole[:n])
		require.ErrorIs(t, err, ErrBadPacket, "of %d bytes", n)
	}
	_, err := Decode(append(whole[:len(whole):len(whole)], 0))
	require.ErrorIs(t, err, ErrBadPacket)
	for i := range whole {
		for _, flip := range []byte{1, 0x80, 0xff} {
			bad := append([]byte(nil), whole...)
			bad[i] ^= flip
			if p, err := Decode(bad); err == nil {
				_ = Append(nil, p)
			}
		}
	}
	lie := append([]byte{version, 0}, 0xff, 0xff, 3) // 65 535 entries in no bytes
	require.ErrorIs(t, second(Decode(lie)), ErrBadPacket)
}

func second[T any](_ T, err error) error { return err }

func TestLabels(t *testing.T) {
	l := MakeLabels("b", "2", "a", "1", "b", "3", "", "x", "c", "")
	require.Equal(t, `{a="1", b="3"}`, l.String())
	v, ok := l.Get("b")
	require.True(t, ok)
	require.Equal(t, "3", v)
	require.Equal(t, `{a="1", b="3", d="\""}`, l.With("d", `"`).String())
	require.Equal(t, `{a="1", b="3"}`, l.String(), "With leaves it alone")
	odd := []string{"a"}
	require.Panics(t, func() { MakeLabels(odd...) })
}

func TestLevels(t *testing.T) {
	for name, want := range map[string]Level{"ERROR": Error, "warning": Warn, "Crit": Fatal, "notice": Info, "unknown": Unknown} {
		got, ok := ParseLevel(name)
		require.True(t, ok, name)
		require.Equal(t, want, got, name)
	}
	for _, name := range []string{"", "x", "errors", strings.Repeat("e", 100)} {
		_, ok := ParseLevel(name)
		require.False(t, ok, name)
	}
	require.Equal(t, "level9", Level(9).String())
}

func TestClip(t *testing.T) {
	p := Packet{Labels: MakeLabels("a", strings.Repeat("ü", MaxValue))}
	fields := make([]Field, MaxFields+3)
	for i := range fields {
		fields[i] = Field{"n", "v"}
	}
	p.Entries = []Entry{{Line: strings.Repeat("x", MaxLine+1), Fields: fields}, {Line: "short"}}
	require.Equal(t, 1+1+3, p.Clip())
	_, err := Decode(Append(nil, p))
	require.NoError(t, err)
	require.Zero(t, p.Clip())
	require.Equal(t, "a", Cut("aü", 2))
	require.Equal(t, "aü", Cut("aü", 3))
}

func FuzzDecode(f *testing.F) {
	f.Add(Append(nil, sample()))
	f.Add([]byte{version, 0, 0})
	f.Fuzz(func(t *testing.T, src []byte) {
		p, err := Decode(src)
		if err != nil {
			return
		}
		again, err := Decode(Append(nil, p))
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("decoded %+v, then %+v, %v", p, again, err)
		}
	})
}
