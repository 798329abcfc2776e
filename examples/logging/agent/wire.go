package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// What an agent sends by HTTP: POST to …/ship with the name of the source in
// the header Logging-Source, and a body compressed with zstd, of frames
//
//	┌──────────┬────────┬────────┐
//	│ sequence │ length │ packet │ …
//	└──────────┴────────┴────────┘
//
// whose numbers are varints. 204 says that all is stored; 400 and 413 that it
// will never be; everything else, 429 and 503 among it, to try again.
const (
	ShipType     = "application/vnd.ashlar.logging+zstd"
	SourceHeader = "Logging-Source"
	MaxShipment  = 16 << 20 // bytes, decompressed
)

// ErrBadShipment is wrapped by errors of DecodeShipment.
var ErrBadShipment = errors.New("agent: bad shipment")

var (
	compressor, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	decompressor, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(MaxShipment))
)

// EncodeShipment returns the body for packets.
func EncodeShipment(packets []store.Numbered) []byte {
	var raw []byte
	for _, n := range packets {
		data := entry.Append(nil, n.Packet)
		raw = binary.AppendUvarint(raw, uint64(n.Sequence))
		raw = binary.AppendUvarint(raw, uint64(len(data)))
		raw = append(raw, data...)
	}
	return compressor.EncodeAll(raw, nil)
}

// DecodeShipment returns the packets of a body.
func DecodeShipment(body []byte) ([]store.Numbered, error) {
	raw, err := decompressor.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadShipment, err)
	}
	var packets []store.Numbered
	for at := 0; at < len(raw); {
		sequence, n := binary.Uvarint(raw[at:])
		if n <= 0 || sequence > 1<<62 {
			return nil, fmt.Errorf("%w: sequence number at byte %d", ErrBadShipment, at)
		}
		at += n
		size, n := binary.Uvarint(raw[at:])
		if n <= 0 || size > uint64(len(raw)-at-n) {
			return nil, fmt.Errorf("%w: length at byte %d", ErrBadShipment, at)
		}
		at += n
		p, err := entry.Decode(raw[at : at+int(size)])
		if err != nil {
			return nil, fmt.Errorf("%w: packet at byte %d: %w", ErrBadShipment, at, err)
		}
		at += int(size)
		packets = append(packets, store.Numbered{Sequence: int64(sequence), Packet: p})
	}
	return packets, nil
}

// An HTTPShipper ships to a store by HTTP. It is safe for concurrent use by
// multiple goroutines.
type HTTPShipper struct {
	URL    string       // of the system, with a slash at its end
	Client *http.Client // nil means the default one
}

// Ship implements [Shipper].
func (h *HTTPShipper) Ship(ctx context.Context, source string, packets []store.Numbered) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(h.URL, "/")+"/ship", bytes.NewReader(EncodeShipment(packets)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", ShipType)
	request.Header.Set(SourceHeader, source)
	client := h.Client
	if client == nil {
		client = http.DefaultClient
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	switch answer.StatusCode {
	case http.StatusNoContent, http.StatusOK:
		return nil
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%w: %s: %s", ErrRejected, answer.Status, strings.TrimSpace(string(text)))
	}
	return fmt.Errorf("agent: %s: %s", answer.Status, strings.TrimSpace(string(text)))
}

// A Local ships to a store in the same process.
type Local struct{ Store *store.Store }

// Ship implements [Shipper].
func (l Local) Ship(ctx context.Context, source string, packets []store.Numbered) error {
	err := l.Store.AppendFrom(ctx, source, packets)
	if errors.Is(err, store.ErrStreams) {
		return fmt.Errorf("%w: %w", ErrRejected, err)
	}
	return err
}
