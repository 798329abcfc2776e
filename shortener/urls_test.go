package shortener

import (
	"bufio"
	"compress/gzip"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCanonical(t *testing.T) {
	var p URLPolicy
	for raw, want := range map[string]string{
		"http://example.com":                              "http://example.com/",
		"HTTP://EXAMPLE.com/Path":                         "http://example.com/Path",
		"https://example.com:443/":                        "https://example.com/",
		"http://example.com:80?b=2&a=1":                   "http://example.com/?b=2&a=1",
		"http://example.com:443/":                         "http://example.com:443/",
		"http://example.com:/x":                           "http://example.com/x",
		"http://example.com:08080/x":                      "http://example.com:8080/x",
		"https://example.com#frag":                        "https://example.com/#frag",
		"https://example.com/a/../b//c/%2e%2E":            "https://example.com/a/../b//c/%2e%2E",
		"https://example.com/?q=a%20b+c&q=&=":             "https://example.com/?q=a%20b+c&q=&=",
		"https://example.com/é?ü=ß#ï":                     "https://example.com/é?ü=ß#ï",
		"https://xn--bcher-kva.example/":                  "https://xn--bcher-kva.example/",
		"https://example.com/a b\\c?d e#f g":              "https://example.com/a b\\c?d e#f g",
		"https://example.com./":                           "https://example.com./",
		"https://my_host.example.com/":                    "https://my_host.example.com/",
		"http://[2001:DB8::1]:8080/":                      "http://[2001:db8::1]:8080/",
		"http://127.0.0.1/":                               "http://127.0.0.1/",
		"http://example.com/a@b:c":                        "http://example.com/a@b:c",
		"http://example.com/?u=http://a:b@c/":             "http://example.com/?u=http://a:b@c/",
		"http://example.com/" + strings.Repeat("x", 2029): "http://example.com/" + strings.Repeat("x", 2029),
	} {
		got, err := p.Canonical(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
		again, err := p.Canonical(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	for raw, reason := range map[string]string{
		"":                                     "empty",
		"example.com":                          "scheme",
		"//example.com/":                       "scheme",
		"/path":                                "scheme",
		"ftp://example.com/":                   "scheme",
		"javascript:alert(1)":                  "scheme",
		"JavaScript://example.com/%0aalert(1)": "scheme",
		"data:text/html,x":                     "scheme",
		"http:example.com":                     "no host",
		"http:/example.com":                    "no host",
		"http://":                              "no host",
		"http:///path":                         "no host",
		"http://?q":                            "no host",
		"http://:80/":                          "no host",
		"http://.":                             "no host",
		"http://a..b/":                         "part of 0",
		"http://" + strings.Repeat("a", 64) + ".com/":     "part of 64",
		"http://" + strings.Repeat("a.", 130) + "com/":    "too long",
		"http://user@example.com/":                        "user name",
		"http://user:pass@example.com/":                   "user name",
		"http://@example.com/":                            "user name",
		"http://example.com:0/":                           "no port",
		"http://example.com:99999/":                       "no port",
		"http://example.com:http/":                        "port",
		"http://bücher.example/":                          "Punycode",
		"http://ｅxample.com/":                             "Punycode",
		"http://exam。ple.com/":                            "Punycode",
		"http://ex%61mple.com/":                           "%61",
		"http://exa mple.com/":                            "host name",
		" http://example.com/":                            "a space",
		"http://example.com/\n":                           `'\n'`,
		"http://example.com\\@evil.com/":                  "userinfo",
		"http://example.com/\x00":                         `'\x00'`,
		"http://[::1":                                     "]",
		"http://[127.0.0.1]/":                             "IP",
		"http://[fe80::1%25eth0]/":                        "IPv6",
		"http://1.2.3.4.5/":                               "IPv4",
		"http://256.1.1.1/":                               "IPv4",
		"http://1.2.3.08/":                                "IPv4",
		"http://99999999999/":                             "IPv4",
		"http://a.b.1/":                                   "IPv4",
		"http://example.com/" + strings.Repeat("x", 2030): "2049 bytes",
	} {
		_, err := p.Canonical(raw)
		require.ErrorIs(t, err, ErrBadURL, raw)
		require.ErrorContains(t, err, reason, raw)
		e, ok := errors.AsType[*URLError](err)
		require.True(t, ok)
		require.LessOrEqual(t, len(e.URL), 100)
	}
}

// Ways to write a host that lead back to the service.
func TestLoopsAreRefused(t *testing.T) {
	p := URLPolicy{Domains: []string{"Sho.rt", "10.0.0.1", "www.sho.rt."}}
	for _, raw := range []string{
		"http://sho.rt/abc", "https://SHO.RT/abc", "http://sho.rt./abc", "http://sho.rt:80/", "http://sho.rt:8080/", "https://www.sho.rt/x",
		"http://10.0.0.1/", "http://10.1/", "http://0xa.0.0.1/", "http://012.1/", "http://167772161/", "http://0x0a000001:99/", "http://[::ffff:10.0.0.1]/",
	} {
		_, err := p.Canonical(raw)
		require.ErrorContains(t, err, "leads back", raw)
	}
	for _, raw := range []string{"http://sho.rt.example.com/", "http://xsho.rt/", "http://blog.sho.rt/", "http://example.com/sho.rt", "http://10.0.0.2/"} {
		_, err := p.Canonical(raw)
		require.NoError(t, err, raw)
	}
}

func TestPrivateHosts(t *testing.T) {
	p := URLPolicy{RefusePrivate: true}
	for _, host := range []string{
		"localhost", "LOCALHOST.", "a.localhost", "intranet", "printer.local", "db.internal", "nas.lan", "x.home.arpa",
		"127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0.0.0.0", "0", "0x", "10.1.2.3", "172.16.0.1", "192.168.1.1",
		"169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:127.0.0.1]", "[ff02::1]",
	} {
		_, err := p.Canonical("http://" + host + "/")
		require.ErrorContains(t, err, "private host", host)
	}
	for _, host := range []string{"example.com", "localhost.example.com", "8.8.8.8", "172.32.0.1", "[2606:4700::1111]", "134744072", "local.example"} {
		_, err := p.Canonical("http://" + host + "/")
		require.NoError(t, err, host)
	}
}

// Real URLs come out as they went in, but for what Canonical says, and short
// links to them lead there.
func TestRealURLs(t *testing.T) {
	f, err := os.Open("../../shared/data/commerce/urls_kasztp.txt.gz")
	if err != nil {
		t.Skip("no data: ", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	s := New(new(MemoryStore), &Options{Codes: NewPermuted(key, nil, nil)})
	links := map[string]string{}
	lines, refused := bufio.NewScanner(z), map[string]int{}
	lines.Buffer(nil, 1<<20)
	n := 0
	for lines.Scan() {
		raw := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if raw == "" {
			continue
		}
		n++
		link, _, err := s.Create(t.Context(), raw, nil)
		if err != nil {
			e, ok := errors.AsType[*URLError](err)
			require.True(t, ok, "%v", err)
			reason, _, _ := strings.Cut(e.Reason, "\"")
			refused[reason]++
			continue
		}
		links[link.Code] = link.URL
		before, err := url.Parse(raw)
		require.NoError(t, err)
		after, err := url.Parse(link.URL)
		require.NoError(t, err)
		require.Equal(t, before.RawQuery, after.RawQuery)
		require.Equal(t, before.EscapedFragment(), after.EscapedFragment())
		require.True(t, before.EscapedPath() == after.EscapedPath() || before.Path == "" && after.Path == "/")
		require.True(t, strings.EqualFold(before.Hostname(), after.Hostname()))
	}
	require.NoError(t, lines.Err())
	for code, url := range links {
		r, err := s.Resolve(t.Context(), code, Visit{})
		require.NoError(t, err)
		require.Equal(t, url, r.URL)
	}
	// Of the 48,010, 150 begin with a quotation mark in their host, and one has
	// none.
	require.Equal(t, map[string]int{"its host ": 150, "there is no host": 1}, refused)
	require.Len(t, links, n-151)
}

// FuzzCanonical: what comes out goes in again unchanged, is http or https, and
// leads to nobody else than Go's parser says, and never back.
func FuzzCanonical(f *testing.F) {
	for _, raw := range []string{"http://example.com", "HTTPS://User@Sho.rt:443/x?y#z", "http://sho.rt.%2f@x/", "http://[::1]:80", "http://0x7f.1/", "http://a/\\"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p := URLPolicy{Domains: []string{"sho.rt"}, RefusePrivate: true}
		got, err := p.Canonical(raw)
		if err != nil {
			if !errors.Is(err, ErrBadURL) {
				t.Fatal(err)
			}
			return
		}
		if again, err := p.Canonical(got); err != nil || again != got {
			t.Fatalf("%q becomes %q, and that %q, %v", raw, got, again, err)
		}
		u, err := url.Parse(got)
		if err != nil || u.User != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			t.Fatalf("%q becomes %q: %+v, %v", raw, got, u, err)
		}
		host := strings.TrimSuffix(u.Hostname(), ".")
		if host == "sho.rt" || host == "localhost" || host == "127.0.0.1" || host == "::1" {
			t.Fatalf("%q leads to %q", raw, host)
		}
		before, err := url.Parse(raw)
		if err != nil || !strings.EqualFold(before.Hostname(), u.Hostname()) || before.RawQuery != u.RawQuery {
			t.Fatalf("%q becomes %q", raw, got)
		}
	})
}
