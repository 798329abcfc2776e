package logging

import (
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/web"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/rules"
)

// gate bounds how many live tails there are.
type gate struct{ n atomic.Int64 }

const maxTails = 100

func (g *gate) enter() bool {
	if g.n.Add(1) > maxTails {
		g.n.Add(-1)
		return false
	}
	return true
}

func (g *gate) leave() { g.n.Add(-1) }

// alertsData is what the page of alerts shows.
type alertsData struct {
	Alerts    []alertRow
	More      int // alerts that are not listed
	Rules     []*rules.Rule
	Silences  []rules.Silence
	Issues    []Issue
	Told      []told
	Receivers []Receiver
	Pending   int // deliveries on their way
	Outbox    []page.Stat
	Edit      struct{ Name, Text string }
	Mail      bool
}

// maxShown is how many alerts the page shows, those that fire first.
const maxShown = 12

type alertRow struct {
	rules.Alert
	Line string
}

func (s *System) alertsView() alertsData {
	a := s.alerts
	now := time.Now()
	d := alertsData{Rules: a.engine.Rules(), Silences: a.engine.Silences(now), Issues: a.topIssues(20), Told: a.recent(), Receivers: a.outbox.list(), Mail: a.outbox.mailer != nil}
	for _, alert := range a.engine.Alerts() {
		if alert.State == rules.Resolved && now.Sub(alert.Since) > time.Hour {
			continue
		}
		if len(d.Alerts) == maxShown {
			d.More++
			continue
		}
		d.Alerts = append(d.Alerts, alertRow{Alert: alert, Line: entry.Cut(alert.Example.Line, 1<<10)})
	}
	if len(d.Told) > 15 {
		d.Told = d.Told[:15]
	}
	a.outbox.mu.Lock()
	d.Outbox = []page.Stat{
		{Label: "Delivered", Value: page.Count(a.outbox.delivered)}, {Label: "On their way", Value: page.Count(len(a.outbox.queue))},
		{Label: "Attempts that failed", Value: page.Count(a.outbox.failed)}, {Label: "Given up", Value: page.Count(a.outbox.dropped)},
	}
	a.outbox.mu.Unlock()
	return d
}

func (s *System) alertPages(mux *http.ServeMux) {
	mux.HandleFunc("GET /alerts/{$}", func(w http.ResponseWriter, r *http.Request) { s.renderAlerts(w, r, http.StatusOK, nil, "", "") })
	post := func(path string, f func(r *http.Request) error) {
		mux.HandleFunc("POST /alerts/"+path, func(w http.ResponseWriter, r *http.Request) {
			if err := f(r); err != nil {
				s.renderAlerts(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: sentence(err.Error())}, r.FormValue("name"), r.FormValue("text"))
				return
			}
			web.Redirect(w, r, "alerts/")
		})
	}
	post("rule", func(r *http.Request) error { return s.alerts.setRule(r.FormValue("name"), r.FormValue("text")) })
	post("remove", func(r *http.Request) error { return s.alerts.removeRule(r.FormValue("name")) })
	post("acknowledge", func(r *http.Request) error {
		s.alerts.engine.Acknowledge(r.FormValue("rule"), r.FormValue("key")) // it may have resolved meanwhile
		return s.alerts.save(s.alerts.ticked.Load())
	})
	post("silence", s.silence)
	post("unsilence", func(r *http.Request) error {
		s.alerts.engine.Unsilence(r.FormValue("rule"), r.FormValue("key"))
		return s.alerts.save(s.alerts.ticked.Load())
	})
	post("receiver", func(r *http.Request) error {
		return s.alerts.outbox.register(r.FormValue("kind"), r.FormValue("target"), r.FormValue("pattern"))
	})
	post("unregister", func(r *http.Request) error { return s.alerts.outbox.remove(r.FormValue("id")) })
	post("make", s.makeTrouble)
}

func (s *System) renderAlerts(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, name, text string) {
	d := s.alertsView()
	d.Edit.Name, d.Edit.Text = name, text
	if edit := r.URL.Query().Get("edit"); edit != "" && name == "" {
		for _, rule := range d.Rules {
			if rule.Name == edit {
				d.Edit.Name, d.Edit.Text = rule.Name, rule.Text
			}
		}
	}
	alerts.Render(w, r, status, page.View{
		Title: "Alerts", What: "Rules watch every line as it is stored. What fires is told here and to whoever asked for it.", Stream: "live", Data: d, Notice: notice,
		Titles: map[string]string{"do": "What is wrong", "watch": "Exceptions and notifications", "break": "Make something fire", "learn": "How rules are written"},
	})
}

func (s *System) silence(r *http.Request) error {
	minutes, err := strconv.Atoi(r.FormValue("minutes"))
	if err != nil || minutes < 1 || minutes > 7*24*60 {
		minutes = 60
	}
	if !s.alerts.engine.Silence(rules.Silence{Rule: r.FormValue("rule"), Key: r.FormValue("key"), Until: time.Now().Add(time.Duration(minutes) * time.Minute), Why: entry.Cut(r.FormValue("why"), 200)}) {
		return errTooManySilences
	}
	return s.alerts.save(s.alerts.ticked.Load())
}

type plainError string

func (e plainError) Error() string { return string(e) }

const errTooManySilences = plainError("logging: there are too many silences")

// makeTrouble writes lines that rules are about.
func (s *System) makeTrouble(r *http.Request) error {
	at := time.Now().Format(stamp)
	var text strings.Builder
	switch r.FormValue("what") {
	case "disk":
		text.WriteString(at + " FATAL Disk Full on /dev/sda1: no space left on device\n")
	case "exception":
		for i := range 50 {
			text.WriteString(at + " ERROR order " + strconv.Itoa(4000+i) + " failed\njava.lang.IllegalStateException: pool of " + strconv.Itoa(i) + " connections is empty\n\tat com.shop.db.Pool.take(Pool.java:142)\n\tat com.shop.web.Checkout.post(Checkout.java:31)\n")
		}
	case "5xx":
		for i := range 60 {
			text.WriteString("192.0.2." + strconv.Itoa(i+1) + " - - [" + time.Now().Format("02/Jan/2006:15:04:05 -0700") + "] \"GET /checkout HTTP/1.1\" 503 0 \"-\" \"curl/8\"\n")
		}
	default:
		return plainError("logging: there is no such trouble to make here")
	}
	return s.fleet.write(pageServer, "page.log", text.String())
}
