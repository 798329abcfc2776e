package cachecore

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/ashlar-go/ashlar/cache"
)

// plain is the codec for snapshots of users who bring none: numbers, strings,
// byte slices and booleans in a compact form of their own, everything else by
// encoding/gob.
type plain[K comparable, V any] struct{}

func codecOr[K comparable, V any](codec cache.Codec[K, V]) cache.Codec[K, V] {
	if codec == nil {
		return plain[K, V]{}
	}
	return codec
}

func (plain[K, V]) Append(dst []byte, key K, value V) ([]byte, error) {
	dst, err := appendPlain(dst, &key)
	if err != nil {
		return nil, err
	}
	return appendPlain(dst, &value)
}

func (plain[K, V]) Decode(src []byte) (key K, value V, err error) {
	rest, err := decodePlain(src, &key)
	if err != nil {
		return key, value, fmt.Errorf("key: %w", err)
	}
	rest, err = decodePlain(rest, &value)
	if err != nil {
		return key, value, fmt.Errorf("value: %w", err)
	}
	if len(rest) > 0 {
		return key, value, fmt.Errorf("%d bytes are left over", len(rest))
	}
	return key, value, nil
}

// appendPlain appends *x so that decodePlain knows where it ends. It is told
// where x is, as decodePlain is, so that both see the same type, which may be
// an interface.
func appendPlain(dst []byte, x any) ([]byte, error) {
	switch v := reflect.ValueOf(x).Elem(); v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(dst, v.Int()), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return binary.AppendUvarint(dst, v.Uint()), nil
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	case reflect.Bool:
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	case reflect.String:
		dst = binary.AppendUvarint(dst, uint64(v.Len()))
		return append(dst, v.String()...), nil
	case reflect.Slice:
		if v.IsNil() {
			return append(dst, 0), nil
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			// The length is one more than that, so that nil stays nil.
			dst = binary.AppendUvarint(dst, uint64(v.Len())+1)
			return append(dst, v.Bytes()...), nil
		}
	case reflect.Struct:
		if v.NumField() == 0 {
			return dst, nil
		}
	case reflect.Pointer, reflect.Interface, reflect.Map:
		// gob has no nil; it never encodes anything as no bytes.
		if v.IsNil() {
			return append(dst, 0), nil
		}
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(x); err != nil {
		return nil, err
	}
	dst = binary.AppendUvarint(dst, uint64(b.Len()))
	return append(dst, b.Bytes()...), nil
}

var (
	errShort = errors.New("it ends too early")
	errRange = errors.New("the number does not fit its type")
)

// decodePlain reads what appendPlain wrote of *x and returns the rest.
func decodePlain(src []byte, x any) ([]byte, error) {
	v := reflect.ValueOf(x).Elem()
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, n := binary.Varint(src)
		if n <= 0 {
			return nil, errShort
		}
		if v.OverflowInt(i) {
			return nil, errRange
		}
		v.SetInt(i)
		return src[n:], nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		u, n := binary.Uvarint(src)
		if n <= 0 {
			return nil, errShort
		}
		if v.OverflowUint(u) {
			return nil, errRange
		}
		v.SetUint(u)
		return src[n:], nil
	case reflect.Float32, reflect.Float64:
		if len(src) < 8 {
			return nil, errShort
		}
		v.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(src)))
		return src[8:], nil
	case reflect.Bool:
		if len(src) < 1 {
			return nil, errShort
		}
		v.SetBool(src[0] != 0)
		return src[1:], nil
	case reflect.String:
		b, rest, err := cut(src, 0)
		v.SetString(string(b))
		return rest, err
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if len(src) > 0 && src[0] == 0 {
				return src[1:], nil
			}
			b, rest, err := cut(src, 1)
			v.SetBytes(append(make([]byte, 0, len(b)), b...))
			return rest, err
		}
	case reflect.Struct:
		if v.NumField() == 0 {
			return src, nil
		}
	}
	b, rest, err := cut(src, 0)
	if err != nil || len(b) == 0 {
		return rest, err
	}
	return rest, gob.NewDecoder(bytes.NewReader(b)).Decode(x)
}

// cut takes a length that is more by extra, and as many bytes, off src.
func cut(src []byte, extra uint64) (b, rest []byte, err error) {
	u, n := binary.Uvarint(src)
	if n <= 0 || u < extra || u-extra > uint64(len(src)-n) {
		return nil, nil, errShort
	}
	u -= extra
	return src[n : n+int(u) : n+int(u)], src[n+int(u):], nil
}
