package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An api is one kind of request that the broker takes.
type api struct {
	min, max int16 // versions
	handle   handler
}

// A handler takes a request. Requests of a connection reach their handlers one
// after the other, in order. What may wait, for a disk, for other brokers, for
// records, a handler leaves to the answer that it returns: that one runs once
// the answers to the requests before have been sent, while later requests may
// already be handled.
//
// A handler may use the bytes of a request until it returns; its answer may
// not, unless it copied them.
type handler func(ctx context.Context, c *conn, req kmsg.Request) answer

// An answer returns the response to a request. Its context ends with the
// connection. A response that is nil is not sent.
type answer func(ctx context.Context) kmsg.Response

// now is an answer that is known already.
func now(resp kmsg.Response) answer {
	return func(context.Context) kmsg.Response { return resp }
}

// A request is one as it arrived.
type request struct {
	key, version int16
	correlation  int32
	clientID     string
	message      kmsg.Request
}

const (
	keyProduce     = 0
	keyFetch       = 1
	keyApiVersions = 18
)

var (
	errMalformed   = errors.New("kafka: malformed request")
	errUnsupported = errors.New("kafka: unsupported request")
)

// parseRequest reads a request without its length. The message refers to data.
// A request of a kind or version that is not in the table gives errUnsupported,
// with the header filled in.
func parseRequest(data []byte, table map[int16]api) (request, error) {
	var r request
	if len(data) < 8 {
		return r, fmt.Errorf("%w: %d bytes", errMalformed, len(data))
	}
	r.key = int16(binary.BigEndian.Uint16(data))
	r.version = int16(binary.BigEndian.Uint16(data[2:]))
	r.correlation = int32(binary.BigEndian.Uint32(data[4:]))
	known, ok := table[r.key]
	if !ok || r.version < known.min || r.version > known.max {
		return r, fmt.Errorf("%w: key %d version %d", errUnsupported, r.key, r.version)
	}
	r.message = kmsg.RequestForKey(r.key)
	r.message.SetVersion(r.version)
	body := data[8:]
	if len(body) < 2 {
		return r, fmt.Errorf("%w: key %d ends in its header", errMalformed, r.key)
	}
	n := int(int16(binary.BigEndian.Uint16(body)))
	body = body[2:]
	if n > len(body) {
		return r, fmt.Errorf("%w: key %d ends in its header", errMalformed, r.key)
	}
	if n > 0 {
		r.clientID = string(body[:n])
		body = body[n:]
	}
	if r.message.IsFlexible() {
		var err error
		if body, err = skipTags(body); err != nil {
			return r, err
		}
	}
	if r.key == keyProduce && !fewParts(body, r.version) {
		return r, fmt.Errorf("%w: more than %d partitions in a request to produce, or not so many as it says", errMalformed, maxPartitions)
	}
	if err := r.message.ReadFrom(body); err != nil {
		return r, fmt.Errorf("%w: key %d version %d: %w", errMalformed, r.key, r.version, err)
	}
	return r, nil
}

// fewParts reports whether the body of a request to produce has no more topics
// and partitions than a cluster. What becomes of each takes far more room than
// the few bytes in which it may be said, and such a request may be large.
func fewParts(body []byte, version int16) bool {
	w := walk{body, version >= 9, true}
	w.skip(w.size(2))
	w.skip(6) // acks, timeout
	left := maxPartitions
	for topics := w.size(4); topics > 0 && w.ok; topics-- {
		if version >= 13 {
			w.skip(16)
		} else {
			w.skip(w.size(2))
		}
		parts := w.size(4)
		if left -= 1 + parts; left < 0 {
			return false
		}
		for ; parts > 0 && w.ok; parts-- {
			w.skip(4)
			w.skip(w.size(4))
			w.tags()
		}
		w.tags()
	}
	return w.ok
}

// A walk passes over the fields of a request.
type walk struct {
	left     []byte
	flexible bool
	ok       bool
}

func (w *walk) skip(n int) {
	if n > len(w.left) {
		n, w.ok = len(w.left), false
	}
	w.left = w.left[n:]
}

// size reads the length of a string, an array or bytes, which takes width bytes
// where lengths are not varints; 0 if there is none.
func (w *walk) size(width int) int {
	if w.flexible {
		return max(w.uvarint()-1, 0)
	}
	at := w.left
	if w.skip(width); !w.ok {
		return 0
	}
	if width == 2 {
		return max(int(int16(binary.BigEndian.Uint16(at))), 0)
	}
	return max(int(int32(binary.BigEndian.Uint32(at))), 0)
}

func (w *walk) uvarint() int {
	v, n := binary.Uvarint(w.left)
	if n <= 0 || v > math.MaxInt32 {
		w.ok = false
		return 0
	}
	w.left = w.left[n:]
	return int(v)
}

// tags passes over tagged fields.
func (w *walk) tags() {
	if !w.flexible {
		return
	}
	for n := w.uvarint(); n > 0 && w.ok; n-- {
		w.uvarint()
		w.skip(w.uvarint())
	}
}

// skipTags skips the tagged fields of a header.
func skipTags(body []byte) ([]byte, error) {
	w := walk{body, true, true}
	if w.tags(); !w.ok {
		return nil, fmt.Errorf("%w: tags of the header", errMalformed)
	}
	return w.left, nil
}

// appendResponse writes a response with its length and header.
func appendResponse(dst []byte, correlation int32, resp kmsg.Response) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlation))
	// A client that asks for the versions may not know of headers with tags.
	if resp.IsFlexible() && resp.Key() != keyApiVersions {
		dst = append(dst, 0)
	}
	dst = resp.AppendTo(dst)
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

// fallback is the answer to a version of ApiVersions that is not known: one
// that any client can read, so that it learns which to use.
func (b *broker) fallback() kmsg.Response {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = b.versions
	return resp
}
