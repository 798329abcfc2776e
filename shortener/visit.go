package shortener

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
)

// A Class is what a visitor is taken for.
type Class uint8

const (
	Human   Class = iota
	Bot           // a crawler, a monitor, a program
	Preview       // of the page, for somebody who may visit it or not
)

// String returns the name of the class.
func (c Class) String() string { return [...]string{"human", "bot", "preview"}[c] }

// A Visit is what is known of a visitor.
type Visit struct {
	Method    string // of the request; empty means GET
	UserAgent string
	Purpose   string // of the header Sec-Purpose, Purpose, X-Purpose or X-Moz
	Referrer  string // the page that the link is on: only its host is kept
	Country   string // two letters, from whoever knows
	Visitor   string // something that tells visitors apart, as an address; not kept
}

// VisitOf returns what a request tells of its visitor: all but the country. The
// visitor is the address of the peer and the user agent.
func VisitOf(r *http.Request) Visit {
	v := Visit{Method: r.Method, UserAgent: r.UserAgent(), Referrer: r.Referer()}
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		if v.Purpose = r.Header.Get(name); v.Purpose != "" {
			break
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	v.Visitor = host + "|" + v.UserAgent
	return v
}

// Class returns what the visitor is taken for, by what it says of itself. A
// request for the head only, or with the purpose to prefetch, is a Preview, as
// are the programs that fetch pages for those who write or read messages.
func (v *Visit) Class() Class {
	if v.Method == http.MethodHead || v.Purpose != "" && isPrefetch(v.Purpose) {
		return Preview
	}
	return agents.of(v.UserAgent).class
}

func isPrefetch(purpose string) bool {
	p := strings.ToLower(purpose)
	return strings.Contains(p, "prefetch") || strings.Contains(p, "prerender") || strings.Contains(p, "preview")
}

// A Device is what somebody visits with.
type Device uint8

const (
	OtherDevice Device = iota
	Desktop
	Mobile
	Tablet
)

// String returns the name of the device.
func (d Device) String() string { return [...]string{"other", "desktop", "mobile", "tablet"}[d] }

// Device returns what the visitor uses, by what it says of itself.
func (v *Visit) Device() Device { return agents.of(v.UserAgent).device }

// An agent is what follows from a user agent.
type agent struct {
	class  Class
	device Device
}

// agents remembers what follows from user agents, since most visits are of
// few of them.
var agents agentCache

// maxAgents is the number of user agents that are remembered, before all are
// forgotten, and maxAgent the length of the longest.
const maxAgents, maxAgent = 4096, 512

type agentCache struct {
	known atomic.Pointer[sync.Map]
	count atomic.Int64
}

func (c *agentCache) of(userAgent string) agent {
	known := c.known.Load()
	if known != nil {
		if a, ok := known.Load(userAgent); ok {
			return a.(agent)
		}
	}
	a := agentOf(strings.ToLower(userAgent))
	if len(userAgent) > maxAgent {
		return a
	}
	if known == nil || c.count.Add(1) > maxAgents {
		known = &sync.Map{}
		c.count.Store(0)
		c.known.Store(known)
	}
	known.Store(strings.Clone(userAgent), a)
	return a
}

// Programs whose names do not say what they are, and those that only look like
// browsers. Names are parts of a user agent in small letters.
var (
	previewers = []string{
		"facebookexternalhit", "facebookcatalog", "twitterbot", "slackbot-linkexpanding", "slack-imgproxy", "discordbot", "telegrambot",
		"whatsapp", "linkedinbot", "skypeuripreview", "pinterestbot", "redditbot", "mastodon", "pleroma", "misskey", "akkoma", "bluesky",
		"cardyb", "iframely", "embedly", "vkshare", "viber", "snapchat", "google-pagerenderer", "bitlybot", "imessagebot", "synapse",
		"mattermost", "rocket.chat", "zulipurlpreview", "teams/", "microsoftpreview", "kakaotalk-scrap", "line-poker", "applebot-preview",
	}
	bots = []string{
		"bot", "crawl", "spider", "slurp", "archiver", "scanner", "monitor", "uptime", "pingdom", "statuscake", "lighthouse", "headlesschrome",
		"phantomjs", "feed", "rss", "validator", "checker", "curl/", "wget/", "python-", "python/", "aiohttp", "httpx", "go-http-client",
		"java/", "okhttp", "apache-httpclient", "libwww", "node-fetch", "axios", "undici", "got (", "guzzle", "php/", "ruby", "perl",
		"scrapy", "httpie", "postman", "insomnia", "bytespider", "gptbot", "claudebot", "ccbot", "mediapartners-google", "google-read-aloud",
	}
	// Words of browsers in which a name above is contained.
	notBots = []string{"cubot"}
)

// agentOf classifies a user agent in small letters. One that is empty is a
// program: browsers have one.
func agentOf(a string) agent {
	result := agent{device: deviceOf(a)}
	plain := a
	for _, name := range notBots {
		plain = strings.ReplaceAll(plain, name, "")
	}
	switch {
	case containsAny(a, previewers):
		result.class = Preview
	case a == "" || containsAny(plain, bots):
		result.class = Bot
	}
	return result
}

func deviceOf(a string) Device {
	switch {
	case strings.Contains(a, "ipad"), strings.Contains(a, "tablet"), strings.Contains(a, "kindle"),
		strings.Contains(a, "android") && !strings.Contains(a, "mobile"):
		return Tablet
	case strings.Contains(a, "mobi"), strings.Contains(a, "iphone"), strings.Contains(a, "android"):
		return Mobile
	case containsAny(a, []string{"windows", "macintosh", "x11", "linux", "cros"}):
		return Desktop
	}
	return OtherDevice
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}

// referringHost returns the host of a page, without www, or "" if it has none.
func referringHost(referrer string) string {
	if referrer == "" {
		return ""
	}
	u, err := url.Parse(referrer)
	if err != nil {
		return ""
	}
	host := strings.ToLower(u.Hostname())
	if len(host) > 100 {
		return ""
	}
	return strings.TrimPrefix(host, "www.")
}
