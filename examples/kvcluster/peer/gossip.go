package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"
)

// Transport returns what memberlist sends and receives through. Packets go over
// the connections that calls use, so that there is one port and one place
// for faults.
func (e *Endpoint) Transport() memberlist.NodeAwareTransport { return transport{e} }

type transport struct{ e *Endpoint }

// FinalAdvertiseAddr implements [memberlist.Transport].
func (t transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, port, err := net.SplitHostPort(t.e.Addr())
	if err != nil {
		return nil, 0, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, 0, err
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.IsUnspecified() {
		return nil, 0, fmt.Errorf("peer: %s is no address that others can reach; listen at one", host)
	}
	return ip, n, nil
}

// WriteTo implements [memberlist.Transport].
func (t transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

// WriteToAddress sends a packet and does not wait for it.
func (t transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	e, now := t.e, time.Now()
	if e.gate.isShut() {
		return now, nil
	}
	packet := outgoing{message: requestMessage(packetCall, 0, 0, bytes.Clone(b))}
	select {
	case e.sending <- struct{}{}:
	default:
		return now, nil // dropped
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		<-e.sending
		return now, ErrClosed
	}
	e.done.Go(func() {
		defer func() { <-e.sending }()
		ctx, cancel := context.WithTimeout(e.ctx, dialTime)
		defer cancel()
		rule := e.options.Network.Rule(e.options.Name, a.Name)
		if rule.Cut || e.options.Network.pass(ctx, e.options.Name, a.Name) != nil {
			return
		}
		if l, err := e.link(ctx, lane{Node: Node{a.Name, a.Addr}}); err == nil {
			l.out.send(packet)
		}
	})
	return now, nil
}

// PacketCh implements [memberlist.Transport].
func (t transport) PacketCh() <-chan *memberlist.Packet { return t.e.packets }

// StreamCh implements [memberlist.Transport].
func (t transport) StreamCh() <-chan net.Conn { return t.e.streams }

// DialTimeout implements [memberlist.Transport].
func (t transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a connection of its own for memberlist.
func (t transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(t.e.ctx, timeout)
	defer cancel()
	if err := t.e.gate.wait(ctx); err != nil {
		return nil, err
	}
	if err := t.e.options.Network.pass(ctx, t.e.options.Name, a.Name); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("peer: no way to %s: %w", a.Name, err)
		}
		return nil, err
	}
	return t.e.connect(ctx, Node{a.Name, a.Addr}, kindStream)
}

// Shutdown implements [memberlist.Transport]; closing is the endpoint's business.
func (t transport) Shutdown() error { return nil }
