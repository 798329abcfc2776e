package logging

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/logging/rules"
)

// postbox is a webhook and a mailer that refuse the first few.
type postbox struct {
	mu     sync.Mutex
	refuse int
	bodies []WebhookBody
	mails  []string
}

func (p *postbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse > 0 {
		p.refuse--
		http.Error(w, "not now", http.StatusBadGateway)
		return
	}
	var b WebhookBody
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.bodies = append(p.bodies, b)
}

// Send implements [Mailer].
func (p *postbox) Send(_ context.Context, to, subject, body string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse > 0 {
		p.refuse--
		return errors.New("not now")
	}
	p.mails = append(p.mails, to+": "+subject+"\n"+body)
	return nil
}

func (p *postbox) count() (bodies, mails int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.bodies), len(p.mails)
}

// Receivers are told of what they asked for, again until it works, also over a
// restart; an exception that is thrown fifty times is told once.
func TestNotifications(t *testing.T) {
	box := &postbox{refuse: 1000}
	hook := httptest.NewServer(box)
	defer hook.Close()
	dir := t.TempDir()
	c := config(dir)
	c.Mailer, c.MailTo = box, "ops@example.com"
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, s.alerts.outbox.register("webhook", hook.URL, "alert.*.mine"))
	require.Error(t, s.alerts.outbox.remove("mail"), "it comes from a flag")
	require.NoError(t, s.alerts.setRule("Mine", `new issue in 24h severity info where "it broke"`))
	require.NoError(t, s.alerts.setRule("Other", `any severity info where "it broke"`))
	require.NoError(t, s.alerts.removeRule("New exception"))
	require.NoError(t, s.fleet.write(pageServer, "page.log", strings.Repeat("ERROR order 4711: it broke\n", 50)))
	eventually(t, "delivery was tried", func() bool {
		s.alerts.outbox.mu.Lock()
		defer s.alerts.outbox.mu.Unlock()
		return s.alerts.outbox.failed >= 3
	})
	require.NoError(t, s.Close())

	box.mu.Lock()
	box.refuse = 0
	box.mu.Unlock()
	s, err = New(t.Context(), c)
	require.NoError(t, err)
	eventually(t, "they are told after the restart", func() bool { bodies, mails := box.count(); return bodies >= 1 && mails >= 2 })
	require.NoError(t, s.fleet.write(pageServer, "page.log", "ERROR order 4712: it broke\n"))
	eventually(t, "the line is stored", func() bool { return len(found(t, s, "4712")) == 1 })
	eventually(t, "it is counted", func() bool { issues := s.alerts.topIssues(5); return len(issues) == 1 && issues[0].Count == 51 })
	require.Len(t, s.alerts.engine.Rules(), 6, "rules are as they were left")
	require.Len(t, s.alerts.outbox.list(), 2)
	require.NoError(t, s.Close())
	box.mu.Lock()
	defer box.mu.Unlock()
	require.Len(t, box.bodies, 1, "one notification for one issue")
	require.Equal(t, "Mine", box.bodies[0].Rule)
	require.Contains(t, box.bodies[0].Alerts[0].Line, "it broke")
	require.Len(t, box.mails, 2, "two rules")
	require.Contains(t, box.mails[0]+box.mails[1], "ops@example.com: [info] Other: firing")
}

// A receiver that does not answer holds up nobody else, and what was on its way
// to one that is removed does not come back.
func TestAReceiverThatHangs(t *testing.T) {
	calls := make(chan struct{}, 100)
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls <- struct{}{}
		<-release
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer hanging.Close()
	box := &postbox{}
	hook := httptest.NewServer(box)
	defer hook.Close()
	c := config(t.TempDir())
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	o := s.alerts.outbox
	require.NoError(t, o.register("webhook", hanging.URL, ""))
	require.NoError(t, o.register("webhook", hook.URL, ""))
	receivers := o.list()
	note := rules.Notification{Rule: "r", Severity: "info", State: rules.Firing, Alerts: []rules.Alert{{Rule: "r"}}}
	for range 3 {
		o.add(receivers[0], note)
		o.add(receivers[1], note)
	}
	eventually(t, "the other is told", func() bool { bodies, _ := box.count(); return bodies == 3 })
	<-calls
	require.NoError(t, o.remove(receivers[0].ID))
	close(release)
	eventually(t, "the attempt has failed", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.failed > 0 })
	for e, err := range s.alerts.kv.Prefix([]byte("x/outbox/")) {
		require.NoError(t, err)
		t.Errorf("%s is still on its way", e.Key)
	}
}

// A rule can be changed when there are as many as there may be.
func TestAsManyRulesAsThereMayBe(t *testing.T) {
	s, _ := serve(t, config(t.TempDir()))
	for i := len(s.alerts.engine.Rules()); i < maxRules; i++ {
		require.NoError(t, s.alerts.setRule("rule "+strconv.Itoa(i), "any where x"))
	}
	require.ErrorContains(t, s.alerts.setRule("one more", "any where x"), "enough")
	require.NoError(t, s.alerts.setRule("rule 50", "any where y"))
}

// Silences and acknowledgements hold over a restart.
func TestSilencesAreKept(t *testing.T) {
	dir := t.TempDir()
	c := config(dir)
	s, err := New(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, s.alerts.setRule("Mine", "any where mine"))
	require.True(t, s.alerts.engine.Silence(rules.Silence{Rule: "Other", Until: time.Now().Add(time.Hour)}))
	require.NoError(t, s.fleet.write(pageServer, "page.log", "mine\n"))
	eventually(t, "it fires", func() bool { return s.alerts.firing() == 1 && len(s.alerts.recent()) == 1 })
	require.True(t, s.alerts.engine.Acknowledge("Mine", ""))
	require.NoError(t, s.Close())
	s, err = New(t.Context(), c)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	list := s.alerts.engine.Alerts()
	require.Len(t, list, 1)
	require.True(t, list[0].Acknowledged)
	require.Len(t, s.alerts.engine.Silences(time.Now()), 1)
	require.Len(t, s.alerts.recent(), 1, "nobody was told again")
}

func TestLiveTail(t *testing.T) {
	s, base := serve(t, config(t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"tail?q="+url.QueryEscape("level>=error"), nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, "text/event-stream; charset=utf-8", answer.Header.Get("Content-Type"))
	require.NoError(t, s.fleet.write(pageServer, "page.log", "INFO no\nERROR yes\nDEBUG no\n"))
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var event tailEvent
		require.NoError(t, json.Unmarshal([]byte(data), &event))
		require.Len(t, event.Lines, 1)
		require.Equal(t, "ERROR yes", event.Lines[0].Line)
		require.Equal(t, "page", event.Lines[0].Host)
		return
	}
	t.Fatal("the stream has ended")
}
