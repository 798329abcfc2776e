package shortener

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// A URLPolicy says which URLs may be shortened. The zero URLPolicy has the
// defaults.
//
// A URLPolicy is safe for concurrent use by multiple goroutines.
type URLPolicy struct {
	// Domains are the hosts of the service itself, to which no link may lead,
	// since it would lead back, and perhaps in a circle.
	Domains []string

	// MaxLength is the number of bytes that a URL may have; 0 means 2048.
	MaxLength int

	// RefusePrivate refuses hosts that are inside somebody's network: private,
	// loopback, link-local and unspecified addresses in any way of writing,
	// names without a dot, and names ending in localhost, local, internal,
	// home.arpa or lan. Names are not looked up.
	RefusePrivate bool
}

// A URLError says why a URL cannot be shortened. It wraps ErrBadURL.
type URLError struct {
	URL    string // cut to 100 bytes
	Reason string
}

// Error names the URL and the reason.
func (e *URLError) Error() string { return fmt.Sprintf("%v %q: %s", ErrBadURL, e.URL, e.Reason) }

// Unwrap returns ErrBadURL.
func (e *URLError) Unwrap() error { return ErrBadURL }

// Canonical returns the form of a URL in which it is kept: scheme and host in
// small letters, no port if it is that of the scheme, and a slash for an empty
// path. What comes after the host is not touched, since only the host knows what
// it means: not the order of a query, nor how characters are escaped, nor dots
// in a path.
//
// The error is a [URLError] unless the URL is absolute, of http or https, with
// a host and without a password or user name, not too long, without control
// characters and spaces around it, and its host is not refused. Hosts are ASCII: names in other scripts have to come in Punycode (xn--…), so that there
// is one way to write each, and ours cannot be hidden in look-alikes.
func (p *URLPolicy) Canonical(raw string) (string, error) {
	bad := func(format string, args ...any) (string, error) {
		return "", &URLError{raw[:min(len(raw), 100)], fmt.Sprintf(format, args...)}
	}
	limit := p.MaxLength
	if limit == 0 {
		limit = 2048
	}
	if raw == "" {
		return bad("it is empty")
	}
	if len(raw) > limit {
		return bad("it has %d bytes, and may have %d", len(raw), limit)
	}
	if i := strings.IndexFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f }); i >= 0 {
		return bad("it has %q at byte %d", raw[i], i)
	}
	if raw[0] == ' ' || raw[len(raw)-1] == ' ' {
		return bad("it begins or ends with a space")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return bad("%v", err)
	}
	scheme := strings.ToLower(u.Scheme)
	if scheme != "http" && scheme != "https" {
		return bad("its scheme is %q, not http or https", scheme)
	}
	// What follows must be what browsers see, so it is not taken from u.
	rest, ok := strings.CutPrefix(raw[len(u.Scheme)+1:], "//")
	if !ok {
		return bad("there is no host")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if u.User != nil || strings.Contains(authority, "@") {
		return bad("it has a user name")
	}
	host, port, reason := splitHost(authority)
	if reason != "" {
		return bad("%s", reason)
	}
	if port == "80" && scheme == "http" || port == "443" && scheme == "https" {
		port = ""
	}
	name := strings.TrimSuffix(host, ".")
	addr, isAddr, err := address(name)
	if err != nil {
		return bad("%v", err)
	}
	for _, own := range p.Domains {
		if sameHost(name, addr, isAddr, own) {
			return bad("it leads back to %s", own)
		}
	}
	if p.RefusePrivate && isPrivate(name, addr, isAddr) {
		return bad("%s is a private host", host)
	}
	if port != "" {
		host += ":" + port
	}
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest
	}
	return scheme + "://" + host + rest, nil
}

// splitHost checks what is between // and the path.
func splitHost(authority string) (host, port, reason string) {
	host = strings.ToLower(authority)
	colon := strings.LastIndexByte(host, ':')
	if colon > strings.LastIndexByte(host, ']') {
		host, port = host[:colon], host[colon+1:]
		if n, err := strconv.ParseUint(port, 10, 16); port != "" && (err != nil || n == 0) {
			return "", "", fmt.Sprintf("%q is no port", port)
		} else if port != "" {
			port = strconv.FormatUint(n, 10)
		}
	}
	if strings.HasPrefix(host, "[") {
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil || !addr.Is6() || addr.Zone() != "" || host[len(host)-1] != ']' {
			return "", "", fmt.Sprintf("%q is no IPv6 address", host)
		}
		return host, port, ""
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" {
		return "", "", "there is no host"
	}
	if len(name) > 253 {
		return "", "", "its host is too long"
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", "", fmt.Sprintf("its host %q has a part of %d bytes", host, len(label))
		}
		for i := range len(label) {
			c := label[i]
			if c >= 0x80 {
				return "", "", fmt.Sprintf("its host %q is not in Punycode", host)
			}
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == '-' || c == '_') {
				return "", "", fmt.Sprintf("its host %q has a %q", host, c)
			}
		}
	}
	return host, port, ""
}

// address returns the address that a host is, in any way that browsers take
// for one: 127.1, 0x7f000001 and 017700000001 are 127.0.0.1.
func address(name string) (addr netip.Addr, ok bool, err error) {
	if strings.HasPrefix(name, "[") {
		addr, err = netip.ParseAddr(strings.Trim(name, "[]"))
		return addr.Unmap(), err == nil, err
	}
	parts := strings.Split(name, ".")
	if last := parts[len(parts)-1]; !isNumber(last) {
		return addr, false, nil
	}
	if len(parts) > 4 {
		return addr, false, fmt.Errorf("%q is no IPv4 address", name)
	}
	var ip uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(octal(part), 0, 32)
		room := uint64(256)
		if i == len(parts)-1 {
			room = 1 << (8 * (5 - len(parts)))
		}
		if err != nil || !isNumber(part) || n >= room {
			return addr, false, fmt.Errorf("%q is no IPv4 address", name)
		}
		if i == len(parts)-1 {
			ip |= n
		} else {
			ip |= n << (24 - 8*i)
		}
	}
	return netip.AddrFrom4([4]byte{byte(ip >> 24), byte(ip >> 16), byte(ip >> 8), byte(ip)}), true, nil
}

// isNumber reports whether browsers take a part of a host for a number: digits,
// or hexadecimal ones after 0x, of which there may be none.
func isNumber(part string) bool {
	digits, hex := strings.CutPrefix(part, "0x")
	for i := range len(digits) {
		c := digits[i]
		if !('0' <= c && c <= '9' || hex && 'a' <= c && c <= 'f') {
			return false
		}
	}
	return part != ""
}

// octal returns a number as strconv understands it.
func octal(part string) string {
	switch {
	case part == "0x":
		return "0"
	case len(part) > 1 && part[0] == '0' && part[1] != 'x':
		return "0o" + part[1:]
	}
	return part
}

func sameHost(name string, addr netip.Addr, isAddr bool, own string) bool {
	own = strings.TrimSuffix(strings.ToLower(own), ".")
	if other, ok, err := address(own); err == nil && ok && isAddr {
		return other == addr
	}
	return name == own
}

func isPrivate(name string, addr netip.Addr, isAddr bool) bool {
	if isAddr {
		return !addr.IsGlobalUnicast() || addr.IsPrivate() || sharedAddresses.Contains(addr) || thisNetwork.Contains(addr)
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch last {
	case name, "localhost", "local", "internal", "lan":
		return true
	}
	return name == "home.arpa" || strings.HasSuffix(name, ".home.arpa")
}

var (
	sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")
	thisNetwork     = netip.MustParsePrefix("0.0.0.0/8")
)
