package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// WriteJSON writes a row as one line.
func (r Row) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Verdict is "met", "short", or empty for a row without a bar.
func (r Row) Verdict() string {
	switch {
	case r.Bar == "":
		return ""
	case r.Met:
		return "met"
	}
	return "short"
}

// WriteText writes a row for a terminal.
func (r Row) WriteText(w io.Writer) error {
	line := fmt.Sprintf("%-9s %-44s %10s %-10s", r.Package, r.Name, number(r.Ours), r.Unit)
	if r.BestPeer != "" {
		line += fmt.Sprintf(" %9s %-14s ratio %5.2f", number(r.Peer), r.BestPeer, r.Ratio)
	}
	if r.Bar != "" {
		line += fmt.Sprintf("  bar %s: %s", r.Bar, r.Verdict())
	}
	if r.Note != "" {
		line += "  (" + r.Note + ")"
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100 || v == float64(int(v)):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

const title = "# Results\n\nEach section was written by the command in it, on the machine and at the time it names. Implementations take turns in one process; times are processor\ntime per operation, medians over rounds; the ratio is ours to the peer named, in the same round. Lower is better unless the unit is a percentage.\n"

// Section renders the rows of one package.
func Section(pkg, command string, rounds int, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n`%s`, %d rounds, %s, %d processors, %s\n\n", pkg, command, rounds, runtime.Version(), runtime.GOMAXPROCS(0), time.Now().UTC().Format(time.DateOnly))
	b.WriteString("| row | ours | unit | peer | its figure | ratio | bar | | spread | note |\n|---|---:|---|---|---:|---:|---|---|---:|---|\n")
	for _, r := range rows {
		ratio, spread := "", ""
		if r.BestPeer != "" {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		if r.Spread > 0 {
			spread = fmt.Sprintf("%.0f %%", 100*r.Spread)
		}
		peer := ""
		if r.BestPeer != "" {
			peer = number(r.Peer)
		}
		var others []string
		for _, f := range r.Peers {
			if f.Name != r.BestPeer {
				others = append(others, f.Name+" "+number(f.Value))
			}
		}
		note := r.Note
		if len(others) > 0 {
			note = strings.TrimPrefix(note+"; "+strings.Join(others, ", "), "; ")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Name, number(r.Ours), r.Unit, r.BestPeer, peer, ratio, r.Bar, r.Verdict(), spread, note)
	}
	return b.String()
}

// Merge puts sections by package into the file at path: those of other
// packages stay, all are in alphabetical order.
func Merge(path string, sections map[string]string) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	all := map[string]string{}
	for i, part := range strings.Split(string(old), "\n## ") {
		if i == 0 {
			continue
		}
		name, _, _ := strings.Cut(part, "\n")
		all[name] = "## " + strings.TrimRight(part, "\n") + "\n"
	}
	maps.Copy(all, sections)
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(title)
	for _, name := range names {
		b.WriteString("\n" + all[name])
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
