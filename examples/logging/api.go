package logging

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/store"
)

// apiSearch answers with entries as JSON, newest first.
func (s *System) apiSearch(w http.ResponseWriter, r *http.Request) {
	q := ask(r)
	if q.err != nil {
		http.Error(w, q.err.Error(), http.StatusBadRequest)
		return
	}
	request := store.Request{Query: q.parsed, Archive: q.Archive, Limit: 1000}
	if _, given := r.URL.Query()["last"]; given && q.length > 0 {
		request.From = time.Now().Add(-q.length)
	}
	if q.Cursor != "" {
		before, err := store.ParseCursor(q.Cursor)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.Before = &before
	}
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	result, err := s.store.Search(ctx, request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	type hit struct {
		Time   time.Time         `json:"time"`
		Level  string            `json:"level"`
		Labels map[string]string `json:"labels"`
		Line   string            `json:"line"`
		Fields map[string]string `json:"fields,omitempty"`
	}
	answer := struct {
		Entries []hit  `json:"entries"`
		Next    string `json:"next,omitempty"` // give it as before, for the next page
		Stopped bool   `json:"stopped,omitempty"`
		Damaged string `json:"damaged,omitempty"` // what could not be read, and was left out
	}{Entries: []hit{}, Stopped: result.Stopped}
	if result.Damaged != nil {
		answer.Damaged = result.Damaged.Error()
	}
	for _, h := range result.Hits {
		answer.Entries = append(answer.Entries, hit{h.Time, h.Level.String(), plainMap(h.Labels), h.Line, plainMap(h.Fields)})
	}
	if result.Next != nil {
		answer.Next = result.Next.String()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}

func plainMap(fields []entry.Field) map[string]string {
	m := map[string]string{}
	for _, f := range fields {
		m[f.Name] = cmp.Or(m[f.Name], f.Value)
	}
	return m
}
