package logging

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/mail"
	"net/smtp"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/rules"
	"github.com/ashlar-go/ashlar/kvstore"
	"github.com/ashlar-go/ashlar/observer"
)

// A Mailer sends a mail.
type Mailer interface {
	Send(ctx context.Context, to, subject, body string) error
}

// A Receiver is somebody who is told of alerts.
type Receiver struct {
	ID      string
	Kind    string // webhook or mail
	Target  string // a URL or an address
	Pattern string // of topics: alert.#, alert.critical.*
	Fixed   bool   `json:"-"` // it comes from a flag and cannot be removed
}

// A delivery is a notification on its way to a receiver.
type delivery struct {
	ID       string
	Receiver Receiver
	Note     rules.Notification
	Made     time.Time
	Next     time.Time // attempt
	Attempts int
	Error    string // of the last attempt
}

const (
	giveUpAfter   = 24 * time.Hour
	maxDeliveries = 1000
	maxReceivers  = 20
	postTimeout   = 10 * time.Second
)

// An outbox delivers notifications, again and again until it works. It is
// durable: a restart goes on.
type outbox struct {
	kv     *kvstore.Store
	log    *slog.Logger
	mailer Mailer
	client *http.Client
	wake   chan struct{}

	mu        sync.Mutex
	receivers []Receiver
	cancel    map[string]*observer.Subscription
	bus       *observer.Bus[rules.Notification]
	queue     []*delivery
	busy      map[string]bool // receivers that are being delivered to
	delivered uint64
	failed    uint64 // attempts
	dropped   uint64 // deliveries that were given up, or that there was no room for
}

func newOutbox(kv *kvstore.Store, c *Config) *outbox {
	o := &outbox{kv: kv, log: c.Env.Log, mailer: c.Mailer, wake: make(chan struct{}, 1), cancel: map[string]*observer.Subscription{}, busy: map[string]bool{}}
	o.client = &http.Client{Timeout: postTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if o.mailer == nil && c.SMTP != "" {
		o.mailer = smtpMailer{c.SMTP}
	}
	if c.Webhook != "" {
		o.receivers = append(o.receivers, Receiver{"webhook", "webhook", c.Webhook, "alert.#", true})
	}
	if c.MailTo != "" && o.mailer != nil {
		o.receivers = append(o.receivers, Receiver{"mail", "mail", c.MailTo, "alert.#", true})
	}
	return o
}

func (o *outbox) load() error {
	for e, err := range o.kv.Prefix([]byte("x/receiver/")) {
		if err != nil {
			return err
		}
		var r Receiver
		if json.Unmarshal(e.Value, &r) == nil && observer.CheckPattern(r.Pattern) == nil {
			o.receivers = append(o.receivers, r)
		}
	}
	for e, err := range o.kv.Prefix([]byte("x/outbox/")) {
		if err != nil {
			return err
		}
		d := new(delivery)
		if json.Unmarshal(e.Value, d) == nil {
			o.queue = append(o.queue, d)
		}
	}
	return nil
}

// subscribe makes the receivers observers of a bus.
func (o *outbox) subscribe(bus *observer.Bus[rules.Notification]) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bus = bus
	for _, r := range o.receivers {
		o.observe(r)
	}
}

// observe is called with mu held.
func (o *outbox) observe(r Receiver) {
	o.cancel[r.ID] = o.bus.Subscribe(r.Pattern, func(e observer.Event[rules.Notification]) { o.add(r, e.Value) })
}

// list returns the receivers.
func (o *outbox) list() []Receiver {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.receivers)
}

// register adds a receiver, durably.
func (o *outbox) register(kind, target, pattern string) error {
	r := Receiver{ID: rand.Text()[:8], Kind: kind, Target: strings.TrimSpace(target), Pattern: cmp.Or(strings.TrimSpace(pattern), "alert.#")}
	if err := observer.CheckPattern(r.Pattern); err != nil {
		return err
	}
	switch kind {
	case "webhook":
		u, err := url.Parse(r.Target)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(r.Target) > 1000 {
			return fmt.Errorf("%q is no address of the form http://host/path", r.Target)
		}
	case "mail":
		address, err := mail.ParseAddress(r.Target)
		if err != nil {
			return fmt.Errorf("%q is no mail address", r.Target)
		}
		r.Target = address.Address // without the name that may stand before it
		if o.mailer == nil {
			return errors.New("there is no mail server; start with -smtp host:port")
		}
	default:
		return fmt.Errorf("there are no receivers of the kind %q", kind)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.receivers) >= maxReceivers {
		return fmt.Errorf("%d receivers are enough here", maxReceivers)
	}
	if err := o.kv.Put([]byte("x/receiver/"+r.ID), data, nil); err != nil {
		return err
	}
	o.receivers = append(o.receivers, r)
	o.observe(r)
	return nil
}

// remove removes a receiver and what is on its way to it.
func (o *outbox) remove(id string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.receivers, func(r Receiver) bool { return r.ID == id && !r.Fixed })
	if i < 0 {
		return errors.New("there is no such receiver to remove")
	}
	var batch kvstore.Batch
	batch.Delete([]byte("x/receiver/" + id))
	o.queue = slices.DeleteFunc(o.queue, func(d *delivery) bool {
		if d.Receiver.ID == id {
			batch.Delete([]byte("x/outbox/" + d.ID))
			return true
		}
		return false
	})
	if err := o.kv.Apply(&batch, nil); err != nil {
		return err
	}
	o.cancel[id].Cancel()
	o.receivers = slices.Delete(o.receivers, i, i+1)
	return nil
}

// add puts a notification on its way. What does not fit is dropped, the oldest
// first, and counted.
func (o *outbox) add(r Receiver, n rules.Notification) {
	now := time.Now()
	d := &delivery{ID: fmt.Sprintf("%020d-%s", now.UnixNano(), rand.Text()[:6]), Receiver: r, Note: n, Made: now, Next: now}
	o.mu.Lock()
	if len(o.queue) >= maxDeliveries {
		o.forget(o.queue[0])
		o.dropped++
	}
	o.queue = append(o.queue, d)
	o.put(d)
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// put saves a delivery. It is called with mu held.
func (o *outbox) put(d *delivery) {
	data, err := json.Marshal(d)
	if err == nil {
		err = o.kv.Put([]byte("x/outbox/"+d.ID), data, nil)
	}
	if err != nil {
		o.log.Error("a notification is not durable", "error", err)
	}
}

// forget removes a delivery. It is called with mu held.
func (o *outbox) forget(d *delivery) {
	o.queue = slices.DeleteFunc(o.queue, func(x *delivery) bool { return x == d })
	if err := o.kv.Delete([]byte("x/outbox/"+d.ID), nil); err != nil {
		o.log.Error("a notification may be repeated", "error", err)
	}
}

// run delivers until ctx ends.
func (o *outbox) run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		case <-timer.C:
		}
		for id, list := range o.due(time.Now()) {
			sending.Go(func() { o.deliver(ctx, id, list) })
		}
		timer.Reset(time.Second)
	}
}

// deliver delivers to one receiver until an attempt fails. Others are delivered
// to meanwhile: one that does not answer holds up nobody else.
func (o *outbox) deliver(ctx context.Context, id string, list []*delivery) {
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.busy, id)
	}()
	for _, d := range list {
		err := o.send(ctx, d)
		if ctx.Err() != nil {
			return
		}
		if o.attempted(d, err); err != nil {
			return
		}
	}
}

// due returns what is to be delivered now, by receiver, the oldest first, and
// takes those receivers for busy until deliver has ended. Of one that is busy
// there is nothing.
func (o *outbox) due(now time.Time) map[string][]*delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	due := map[string][]*delivery{}
	for _, d := range o.queue {
		if id := d.Receiver.ID; !d.Next.After(now) && !o.busy[id] {
			due[id] = append(due[id], d)
		}
	}
	for id := range due {
		o.busy[id] = true
	}
	return due
}

// attempted notes how a delivery went.
func (o *outbox) attempted(d *delivery, err error) {
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		o.delivered++
		o.forget(d)
		return
	}
	o.failed++
	if !slices.Contains(o.queue, d) {
		return // its receiver was removed meanwhile, or it had to make room
	}
	d.Attempts++
	d.Error = err.Error()
	if now.Sub(d.Made) > giveUpAfter {
		o.log.Error("a notification is given up", "receiver", d.Receiver.Target, "rule", d.Note.Rule, "error", err)
		o.dropped++
		o.forget(d)
		return
	}
	d.Next = now.Add(min(time.Second<<min(d.Attempts-1, 10), 10*time.Minute))
	o.put(d)
}

func (o *outbox) send(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	if d.Receiver.Kind == "mail" {
		if o.mailer == nil {
			return errors.New("there is no mail server")
		}
		subject, body := Mail(&d.Note)
		return o.mailer.Send(ctx, d.Receiver.Target, subject, body)
	}
	data, err := json.Marshal(Webhook(d.ID, &d.Note))
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, d.Receiver.Target, bytes.NewReader(data))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := o.client.Do(request)
	if err != nil {
		return err
	}
	_ = answer.Body.Close() // what it says is no matter
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return errors.New(answer.Status)
	}
	return nil
}

// A WebhookBody is what is posted to a webhook.
type WebhookBody struct {
	ID       string         `json:"id"` // the same when it is posted again
	Rule     string         `json:"rule"`
	Severity string         `json:"severity"`
	State    string         `json:"state"` // firing or resolved
	Repeated bool           `json:"repeated,omitzero"`
	Alerts   []WebhookAlert `json:"alerts"`
	More     int            `json:"more,omitzero"` // alerts that are not listed
}

// A WebhookAlert is one alert in a WebhookBody.
type WebhookAlert struct {
	Key     string    `json:"key"`
	Summary string    `json:"summary"`
	Since   time.Time `json:"since"`
	Hits    uint64    `json:"hits"`
	Line    string    `json:"line,omitzero"`
}

// Webhook returns the body for a notification.
func Webhook(id string, n *rules.Notification) WebhookBody {
	b := WebhookBody{ID: id, Rule: n.Rule, Severity: n.Severity, State: string(n.State), Repeated: n.Repeated, More: n.More}
	for _, a := range n.Alerts {
		b.Alerts = append(b.Alerts, WebhookAlert{a.Key, a.Summary, a.Since, a.Hits, a.Example.Line})
	}
	return b
}

// Mail returns the subject and the text for a notification.
func Mail(n *rules.Notification) (subject, body string) {
	var b strings.Builder
	for _, a := range n.Alerts {
		fmt.Fprintf(&b, "%s\n  %s, since %s\n", cmp.Or(a.Key, n.Rule), a.Summary, a.Since.Format(time.RFC1123))
		if a.Example.Line != "" {
			fmt.Fprintf(&b, "  %s\n", strings.ReplaceAll(a.Example.Line, "\n", "\n  "))
		}
	}
	if n.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", n.More)
	}
	return fmt.Sprintf("[%s] %s: %s", n.Severity, n.Rule, n.State), b.String()
}

// smtpMailer sends mail through a server without a password, as on the own
// network.
type smtpMailer struct{ addr string }

// Send implements [Mailer].
func (m smtpMailer) Send(ctx context.Context, to, subject, body string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", m.addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	host, _, _ := net.SplitHostPort(m.addr)
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	const from = "logging@localhost"
	err = c.Mail(from)
	if err == nil {
		err = c.Rcpt(to)
	}
	if err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	clean := strings.NewReplacer("\r", " ", "\n", " ")
	_, err = fmt.Fprintf(w, "From: %s\r\nTo: %s\r\nSubject: %s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n%s",
		from, clean.Replace(to), clean.Replace(subject), strings.ReplaceAll(body, "\n", "\r\n"))
	return errors.Join(err, w.Close(), c.Quit())
}
