package kvcluster

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

//go:embed index.html static
var files embed.FS

var index = page.Must(info, nil, files, "index.html")

// A form is what the visitor has filled in.
type form struct {
	Key, Value, At, Level, Command, Node, Backup string
	Sides                                        []string
	Told                                         *told
	Reply                                        string
}

// told is what came of an action on a key.
type told struct {
	Reply, Took string
	Copies      []copyOf
}

// A copyOf is what one node has of a key.
type copyOf struct {
	Node, Class, For, Has, Written string
	Bad                            bool
}

// A view is what the page shows.
type view struct {
	form
	Names     []string
	Levels    []string
	Nodes     []nodeRow
	Stats     []page.Stat
	Arcs      template.HTML
	Discs     template.HTML
	Place     template.HTML
	Catching  template.HTML
	Rate      template.HTML
	Endpoints []system.Endpoint
}

func (s *System) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /live", s.live)
	mux.Handle("GET /static/", http.FileServerFS(files))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.render(w, r, http.StatusOK, nil, form{}) })
	mux.HandleFunc("POST /key", s.postKey)
	mux.HandleFunc("POST /run", s.postRun)
	mux.HandleFunc("POST /node", s.postNode)
	mux.HandleFunc("POST /network", s.postNetwork)
	mux.HandleFunc("POST /backup", s.postBackup)
	mux.HandleFunc("POST /merge", s.postMerge)
	return mux
}

func (s *System) render(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, f form) {
	index.Render(w, r, status, page.View{
		Stream: "live", Data: s.view(f), Notice: notice,
		Titles: map[string]string{"do": "Store a value", "watch": "What the nodes do", "break": "Make it hard", "learn": "How it works"},
	})
}

// result answers a form: with the page as it is now, and what went wrong, if
// anything did.
func (s *System) result(w http.ResponseWriter, r *http.Request, err error, done string, f form) {
	if err != nil {
		text := strings.TrimPrefix(oneLine(err), "kvcluster: ")
		s.render(w, r, http.StatusConflict, &page.Notice{Error: true, Text: strings.ToUpper(text[:1]) + text[1:] + "."}, f)
		return
	}
	s.render(w, r, http.StatusOK, &page.Notice{Text: done}, f)
}

// chosen returns the node that a form names, or the first that runs.
func (s *System) chosen(name string) (*Node, error) {
	for _, h := range s.cluster.Hosts() {
		switch {
		case h.Node != nil && (name == h.Name || name == "" && h.State == Running):
			return h.Node, nil
		case name == h.Name:
			return nil, fmt.Errorf("%s does not run; ask another node, or revive it", name)
		}
	}
	return nil, errors.New("no node runs; revive one")
}

// patient is how long the page waits for a node, which may be paused.
const patient = 8 * time.Second

// runAt runs a command at a node as a client of some consistency would.
func (s *System) runAt(ctx context.Context, n *Node, level string, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	if n.wait(ctx) != nil {
		return "", fmt.Errorf("%s is paused and does not answer", n.config.Name)
	}
	return n.server.RunLine(line, func(session resp.Session) {
		if named, ok := namedLevel(level, n.config.N); ok {
			session.(*client).level = named
		}
	})
}

// quote writes a word of a command line so that any bytes survive.
func quote(word string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(word) {
		if c := word[i]; c >= ' ' && c <= '~' && c != '"' && c != '\\' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String() + `"`
}

// postKey sets, gets or deletes a key and shows where it is.
func (s *System) postKey(w http.ResponseWriter, r *http.Request) {
	f := form{Key: r.FormValue("key"), Value: r.FormValue("value"), At: r.FormValue("at"), Level: r.FormValue("level")}
	commands := map[string]string{
		"set": "SET " + quote(f.Key) + " " + quote(f.Value), "get": "GET " + quote(f.Key), "del": "DEL " + quote(f.Key),
	}
	line, known := commands[r.FormValue("what")]
	n, err := s.chosen(f.At)
	switch {
	case f.Key == "":
		err = errors.New("give the key a name first, for example greeting")
	case !known:
		err = errors.New("there is no such action")
	}
	if err != nil {
		s.result(w, r, err, "", f)
		return
	}
	began := time.Now()
	reply, err := s.runAt(r.Context(), n, f.Level, line)
	if err != nil {
		s.result(w, r, err, "", f)
		return
	}
	took := fmt.Sprintf("%s asked %s; it took %s.", strings.Fields(line)[0], n.config.Name, page.Duration(time.Since(began)))
	f.Told = &told{Reply: reply, Took: took, Copies: n.copies(r.Context(), []byte(f.Key), s.names())}
	s.render(w, r, http.StatusOK, nil, f)
}

// copies asks who has what of a key: its owners, and those that keep it for them.
func (n *Node) copies(ctx context.Context, key []byte, names []string) []copyOf {
	ctx, cancel := context.WithTimeout(ctx, n.config.Timeout/2)
	defer cancel()
	claim := n.forClients.Claim()
	defer claim.Release()
	ctx = budget.With(ctx, claim)
	p := n.roster.placement()
	prefer := p.prefer(key)
	var list []copyOf
	for _, owner := range prefer.Owners {
		list = append(list, copyOf{Node: owner})
	}
	for _, node := range prefer.Fallbacks {
		for _, owner := range prefer.Owners {
			list = append(list, copyOf{Node: node, For: owner})
		}
	}
	replies := make(chan func(), len(list))
	for i := range list {
		c := &list[i]
		c.Class = colour(names, c.Node)
		n.work.Go(func() {
			reply := n.ask(ctx, p, false, replica.Request{To: c.Node, For: c.For, Kind: replica.Fetch, Key: key})
			replies <- func() { c.fill(reply) }
		})
	}
	for range list {
		(<-replies)()
	}
	return slices.DeleteFunc(list, func(c copyOf) bool { return c.For != "" && (c.Bad || c.Has == "nothing") })
}

// fill says in words what a node has answered.
func (c *copyOf) fill(reply replica.Reply) {
	if reply.Err != nil {
		c.Has, c.Bad = "does not answer", true
		if strings.Contains(reply.Err.Error(), errFilling.text) {
			c.Has = "is being filled again"
		}
		return
	}
	if len(reply.Object.Versions) == 0 {
		c.Has = "nothing"
		return
	}
	var words []string
	for _, v := range reply.Object.Versions {
		switch {
		case v.Deleted:
			words = append(words, "a tombstone")
		case !v.Live(time.Now()):
			words = append(words, "an expired value")
		default:
			words = append(words, fmt.Sprintf("%q", clip(v.Data, 40)))
		}
	}
	c.Has = strings.Join(words, " and ")
	c.Written = reply.Object.Last().Wall().Format("15:04:05.000")
}

func clip(b []byte, n int) []byte { return b[:min(len(b), n)] }

// postRun runs any command line.
func (s *System) postRun(w http.ResponseWriter, r *http.Request) {
	f := form{Command: strings.TrimSpace(r.FormValue("command"))}
	n, err := s.chosen("")
	if f.Command == "" {
		err = errors.New("type a command first, for example GET greeting")
	}
	if err == nil {
		f.Reply, err = s.runAt(r.Context(), n, "", f.Command)
	}
	if err != nil {
		s.result(w, r, err, "", f)
		return
	}
	s.render(w, r, http.StatusOK, nil, f)
}

// postNode makes trouble for a node, or ends it.
func (s *System) postNode(w http.ResponseWriter, r *http.Request) {
	name, c := r.FormValue("node"), s.cluster
	var err error
	done := ""
	switch r.FormValue("what") {
	case "kill":
		err, done = c.Kill(name), name+" is dead, as after kill -9."
	case "revive":
		err, done = c.Revive(name), name+" is back."
	case "pause":
		err, done = c.Pause(name), name+" stands still."
	case "resume":
		err, done = c.Resume(name), name+" goes on."
	case "wipe":
		if err = c.Kill(name); err == nil {
			err, done = c.Wipe(name), name+" is dead and its disk empty. Revive it, and its neighbours fill it again."
		}
	case "leave":
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		defer cancel()
		err, done = c.Leave(ctx, name), name+" has given away what it owned, and left."
	case "add":
		name = s.unused()
		err, done = c.Add(name), name+" joins; when it has what it will own, the ring changes."
	default:
		err = errors.New("there is no such trouble to make here")
	}
	s.result(w, r, err, done, form{Node: name})
}

// unused returns a name for another node.
func (s *System) unused() string {
	names := s.names()
	for i := 1; ; i++ {
		if name := fmt.Sprintf("n%d", i); !slices.Contains(names, name) {
			return name
		}
	}
}

// slowBy is what a slow node's messages take more, each way.
const slowBy = 80 * time.Millisecond

func (s *System) postNetwork(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.result(w, r, err, "", form{})
		return
	}
	f := form{Sides: r.Form["side"]}
	names := s.everyone()
	var others []string
	for _, name := range names {
		if !slices.Contains(f.Sides, name) {
			others = append(others, name)
		}
	}
	inside := slices.DeleteFunc(slices.Clone(f.Sides), func(name string) bool { return !slices.Contains(names, name) })
	var err error
	done := "The network is whole."
	switch r.FormValue("what") {
	case "heal":
		s.cluster.Network.Heal()
		f.Sides = nil
	case "cut":
		if len(inside) == 0 || len(others) == 0 {
			err = errors.New("choose the nodes on one side of the cut, and leave some for the other")
			break
		}
		s.cluster.Network.Partition(inside, others)
		done = fmt.Sprintf("%s cannot reach %s any more.", strings.Join(inside, ", "), strings.Join(others, ", "))
	case "slow":
		if len(inside) == 0 {
			err = errors.New("choose the nodes to slow down")
			break
		}
		for _, name := range inside {
			s.cluster.Slow(name, slowBy)
		}
		done = fmt.Sprintf("Messages to and from %s take %s more.", strings.Join(inside, ", "), page.Duration(slowBy))
	default:
		err = errors.New("there is no such trouble to make here")
	}
	s.result(w, r, err, done, f)
}

// postBackup writes or reads a backup of all nodes.
func (s *System) postBackup(w http.ResponseWriter, r *http.Request) {
	f := form{Backup: strings.TrimSpace(r.FormValue("name"))}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	n, err := s.chosen("")
	done := ""
	switch {
	case err != nil:
	case r.FormValue("what") == "backup":
		err, done = n.backupAll(ctx, f.Backup), "Every node has written its share."
	case r.FormValue("what") == "restore":
		var objects uint64
		objects, err = n.restoreAll(ctx, f.Backup)
		done = fmt.Sprintf("%s objects were merged into what is there.", page.Count(objects))
	default:
		err = errors.New("there is no such action")
	}
	s.result(w, r, err, done, f)
}

// postMerge has all nodes of this process merge what they have on disk.
func (s *System) postMerge(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	nodes := s.cluster.running()
	errs := make([]error, len(nodes))
	var merging sync.WaitGroup
	for i, n := range nodes {
		merging.Go(func() { errs[i] = n.merge(ctx) })
	}
	merging.Wait()
	s.result(w, r, errors.Join(errs...), "The files are merged: values are compressed, and read through the cache.", form{})
}

func split(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}
