package group

import "time"

// A Key is the key of a record in the log of a coordinator, which is Kafka's
// topic __consumer_offsets: of the offset of a group in a partition, or of a
// group itself.
type Key struct {
	Group     string
	Offset    bool // else the key of the group's snapshot
	Partition TopicPartition
}

// Versions of keys and values that are written, and that are read.
const (
	offsetKeyVersion, groupKeyVersion     = 1, 2
	offsetValueVersion, groupValueVersion = 3, 3
)

// AppendKey appends k as Kafka writes it. It fails if a name is longer than
// 32767 bytes.
func AppendKey(dst []byte, k Key) ([]byte, error) {
	if !k.Offset {
		return appendString(appendInt16(dst, groupKeyVersion), k.Group)
	}
	dst, err := appendString(appendInt16(dst, offsetKeyVersion), k.Group)
	if err != nil {
		return dst, err
	}
	dst, err = appendString(dst, k.Partition.Topic)
	return appendInt32(dst, k.Partition.Partition), err
}

// DecodeKey reads a key of version 0, 1 (offsets) or 2 (groups).
func DecodeKey(src []byte) (Key, error) {
	r := reader{src: src, what: "key"}
	var k Key
	switch version := r.int16(); version {
	case 0, offsetKeyVersion:
		k = Key{r.string(), true, TopicPartition{r.string(), r.int32()}}
	case groupKeyVersion:
		k.Group = r.string()
	default:
		r.fail("unknown version")
	}
	r.end()
	if r.err != nil {
		return Key{}, r.err
	}
	return k, nil
}

// AppendCommitted appends the value of an offset's record: version 3, or 1 if
// it names its own end, which only that version can. Times are in
// milliseconds, and Position is not written.
func AppendCommitted(dst []byte, c Committed) ([]byte, error) {
	version := int16(offsetValueVersion)
	if !c.Expires.IsZero() {
		version = 1
	}
	dst = appendInt64(appendInt16(dst, version), c.Offset)
	if version == offsetValueVersion {
		dst = appendInt32(dst, c.LeaderEpoch)
	}
	dst, err := appendString(dst, c.Metadata)
	dst = appendInt64(dst, c.Time.UnixMilli())
	if version == 1 {
		dst = appendInt64(dst, c.Expires.UnixMilli())
	}
	return dst, err
}

// DecodeCommitted reads the value of an offset's record, of version 0 to 3.
func DecodeCommitted(src []byte) (Committed, error) {
	r := reader{src: src, what: "offset"}
	version := r.int16()
	if version < 0 || version > offsetValueVersion {
		r.fail("unknown version")
	}
	c := Committed{Offset: r.int64(), LeaderEpoch: -1}
	if version == offsetValueVersion {
		c.LeaderEpoch = r.int32()
	}
	c.Metadata = r.string()
	c.Time = time.UnixMilli(r.int64())
	if version == 1 {
		if expires := r.int64(); expires >= 0 {
			c.Expires = time.UnixMilli(expires)
		}
	}
	r.end()
	if r.err != nil {
		return Committed{}, r.err
	}
	return c, nil
}

// AppendSnapshot appends the value of a group's record, version 3. Times are in
// milliseconds. It fails if a name is longer than 32767 bytes.
func AppendSnapshot(dst []byte, s Snapshot) ([]byte, error) {
	dst, err := appendString(appendInt16(dst, groupValueVersion), s.ProtocolType)
	dst = appendInt32(dst, s.Generation)
	text := func(v string, nullable bool) {
		if err == nil && nullable {
			dst, err = appendNullable(dst, v)
		} else if err == nil {
			dst, err = appendString(dst, v)
		}
	}
	text(s.Protocol, true)
	text(s.Leader, true)
	dst = appendInt64(dst, s.Since.UnixMilli())
	dst = appendInt32(dst, int32(len(s.Members)))
	for _, m := range s.Members {
		text(m.ID, false)
		text(m.InstanceID, true)
		text(m.ClientID, false)
		text(m.ClientHost, false)
		dst = appendInt32(dst, int32(m.RebalanceTimeout.Milliseconds()))
		dst = appendInt32(dst, int32(m.SessionTimeout.Milliseconds()))
		dst = appendBytes(dst, notNil(m.Metadata))
		dst = appendBytes(dst, notNil(m.Assignment))
	}
	return dst, err
}

// DecodeSnapshot reads the value of a group's record, of version 0 to 3. Its
// slices share memory with src.
func DecodeSnapshot(src []byte) (Snapshot, error) {
	r := reader{src: src, what: "group"}
	version := r.int16()
	if version < 0 || version > groupValueVersion {
		r.fail("unknown version")
	}
	s := Snapshot{ProtocolType: r.string(), Generation: r.int32()}
	s.Protocol, _ = r.nullable()
	s.Leader, _ = r.nullable()
	if version >= 2 {
		if since := r.int64(); since >= 0 {
			s.Since = time.UnixMilli(since)
		}
	}
	seen := map[string]bool{}
	for range r.count(18) {
		m := MemberSnapshot{ID: r.string()}
		if seen[m.ID] {
			r.fail("a member twice")
		}
		seen[m.ID] = true
		if version >= 3 {
			m.InstanceID, _ = r.nullable()
		}
		m.ClientID, m.ClientHost = r.string(), r.string()
		if version >= 1 {
			m.RebalanceTimeout = time.Duration(r.int32()) * time.Millisecond
		}
		m.SessionTimeout = time.Duration(r.int32()) * time.Millisecond
		if version == 0 {
			m.RebalanceTimeout = m.SessionTimeout
		}
		m.Metadata, m.Assignment = r.bytes(), r.bytes()
		s.Members = append(s.Members, m)
	}
	r.end()
	if r.err != nil {
		return Snapshot{}, r.err
	}
	return s, nil
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
