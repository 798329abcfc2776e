package commitlog

import (
	"context"
	"log/slog"
	"math"
	"sync"
)

// news are messages for the Logger, which hears of them when the locks are
// released: it may be one that writes into a log, and that may be this one.
type news struct {
	mu   sync.Mutex
	list []message
}

type message struct {
	level slog.Level
	text  string
	args  []any
}

// say notes a message for the next tell.
func (l *Log) say(level slog.Level, text string, args ...any) {
	l.news.mu.Lock()
	defer l.news.mu.Unlock()
	l.news.list = append(l.news.list, message{level, text, args})
}

// tell gives the Logger what there is. It is called with no lock held.
func (l *Log) tell() {
	l.news.mu.Lock()
	list := l.news.list
	l.news.list = nil
	l.news.mu.Unlock()
	for _, m := range list {
		l.opts.Logger.Log(context.Background(), m.level, m.text, m.args...)
	}
}

// restructure locks the structure. It asks the clock and RetainFrom before, for
// all that is done with the lock.
func (l *Log) restructure() {
	now, from := l.opts.Now(), l.askRetainFrom()
	l.structure.Lock()
	l.now, l.retainFrom = now, from
}

// askRetainFrom returns what RetainFrom says. It is called with no lock held.
func (l *Log) askRetainFrom() int64 {
	if l.opts.RetainFrom == nil {
		return math.MaxInt64
	}
	return l.opts.RetainFrom()
}

// restructured unlocks the structure and tells what was said meanwhile.
func (l *Log) restructured() {
	l.structure.Unlock()
	l.tell()
}
