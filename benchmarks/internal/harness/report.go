package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// WriteJSON writes the row as one line.
func (r Row) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// WriteText writes the row for a terminal, as one line. Where time was
// measured, it ends with the rest that was measured of ours.
func (r Row) WriteText(w io.Writer) error {
	var line strings.Builder
	line.WriteString(pad(r.Name, 52) + fmt.Sprintf(" %9s %-10s", number(r.Ours), r.Unit))
	if r.BestPeer != "" {
		line.WriteString(pad(fmt.Sprintf(" %5s of %s %s", number(r.Ratio), r.BestPeer, number(r.Peer)), 32))
	}
	for _, v := range r.Verdicts {
		line.WriteString("  " + v.Bar)
		if v.Reached != r.Ours {
			line.WriteString(": " + number(v.Reached))
		}
		line.WriteString(" " + v.word())
	}
	if r.Rounds > 1 {
		line.WriteString("  spread " + percent(r.Spread))
	}
	if t := r.Figures[0].Timing; t != nil {
		line.WriteString(fmt.Sprintf("  CPU min %s, wall %s min %s, %s allocs, %s B", number(t.CPUMin), number(t.Wall), number(t.WallMin), number(t.Allocs), number(t.Bytes)))
	}
	if r.Note != "" {
		line.WriteString("  (" + r.Note + ")")
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	return err
}

// Summary says how many bars of rows with bars are met, and names the rows
// that fall short.
func Summary(rows []Row) string {
	asked, met := 0, 0
	var short []string
	for _, r := range rows {
		if len(r.Verdicts) == 0 {
			continue
		}
		asked++
		if r.Met {
			met++
		} else {
			short = append(short, r.Name)
		}
	}
	line := fmt.Sprintf("%d of %d rows with a bar meet it", met, asked)
	if len(short) > 0 {
		line += "; short: " + strings.Join(short, " · ")
	}
	return line
}

func (v Verdict) word() string {
	if v.Met {
		return "met"
	}
	return "short"
}

func number(x float64) string {
	switch a := math.Abs(x); {
	case x == math.MaxFloat64:
		return "∞"
	case x == -math.MaxFloat64:
		return "-∞"
	case x == math.Trunc(x) && a < 1e15:
		return fmt.Sprintf("%.0f", x)
	case a >= 1000:
		return fmt.Sprintf("%.0f", x)
	case a >= 100:
		return fmt.Sprintf("%.1f", x)
	case a >= 0.01:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.2g", x)
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// Section renders the rows of one package in Markdown: a table for each group
// of rows, what each implementation reached in another.
func Section(pkg string, about About, rows []Row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n%s.\n", pkg, about, Summary(rows))
	for len(rows) > 0 {
		n := slices.IndexFunc(rows, func(r Row) bool { return r.Group != rows[0].Group })
		if n < 0 {
			n = len(rows)
		}
		if rows[0].Group != "" {
			fmt.Fprintf(&b, "\n### %s\n", rows[0].Group)
		}
		b.WriteString("\n" + verdicts(rows[:n]))
		all := ""
		if rows[0].Figures[0].Timing != nil {
			all = timings(rows[:n])
		} else if slices.ContainsFunc(rows[:n], func(r Row) bool { return len(r.Figures) > 1 }) {
			all = matrix(rows[:n]) // which else would say it all again
		}
		if all != "" {
			b.WriteString("\n<details><summary>All figures</summary>\n\n" + all + "\n</details>\n")
		}
		rows = rows[n:]
	}
	return b.String()
}

// verdicts is the table that says how we stand.
func verdicts(rows []Row) string {
	columns := []string{"row", "ours", "unit", "best peer", "its figure", "ours / its", "spread", "bar", "reached", "", "note"}
	var table [][]string
	for _, r := range rows {
		line := []string{r.Name, number(r.Ours), r.Unit, "", "", "", "", "", "", "", r.Note}
		if r.BestPeer != "" {
			line[3], line[4], line[5] = named(r.Figures, r.BestPeer), number(r.Peer), number(r.Ratio)
		}
		if r.Rounds > 1 {
			line[6] = percent(r.Spread)
		}
		var bars, reached, words []string
		for _, v := range r.Verdicts {
			bars = append(bars, v.Bar)
			reached = append(reached, number(v.Reached))
			words = append(words, v.word())
		}
		line[7], line[8], line[9] = strings.Join(bars, "<br>"), strings.Join(reached, "<br>"), strings.Join(words, "<br>")
		table = append(table, line)
	}
	return markdown(columns, table, 0, 2, 3, 7, 9, 10)
}

// timings is the table with everything known of rows of time.
func timings(rows []Row) string {
	columns := []string{"row", "", "CPU", "least", "elapsed", "least", "allocs", "bytes", "ours / its"}
	var table [][]string
	for _, r := range rows {
		for i, f := range r.Figures {
			line := []string{"", f.Name, number(f.Value), "", "", "", "", "", ""}
			if i == 0 {
				line[0] = r.Name
			} else {
				line[8] = number(ratioOf(r.Figures[0], f))
			}
			if t := f.Timing; t != nil {
				copy(line[3:], []string{number(t.CPUMin), number(t.Wall), number(t.WallMin), number(t.Allocs), number(t.Bytes)})
			}
			table = append(table, line)
		}
	}
	return markdown(columns, table, 0, 1)
}

// matrix is the table of rows by implementations.
func matrix(rows []Row) string {
	columns := []string{"row"}
	place := map[string]int{}
	for _, r := range rows {
		for _, f := range r.Figures {
			if _, ok := place[f.Name]; !ok {
				place[f.Name] = len(columns)
				columns = append(columns, named(r.Figures, f.Name))
			}
		}
	}
	var table [][]string
	for _, r := range rows {
		line := make([]string, len(columns))
		line[0] = r.Name + ", " + r.Unit
		for _, f := range r.Figures {
			line[place[f.Name]] = number(f.Value)
		}
		table = append(table, line)
	}
	return markdown(columns, table, 0)
}

// named marks the names of those whose figures others have published.
func named(figures []Figure, name string) string {
	if slices.ContainsFunc(figures, func(f Figure) bool { return f.Name == name && f.Published }) {
		return name + " †"
	}
	return name
}

// markdown renders a table without the columns that are empty in every row.
// Columns that are not text are aligned to the right.
func markdown(columns []string, table [][]string, text ...int) string {
	var head, rule strings.Builder
	var used []int
	for c, name := range columns {
		if !slices.ContainsFunc(table, func(line []string) bool { return line[c] != "" }) {
			continue
		}
		used = append(used, c)
		head.WriteString("| " + name + " ")
		if slices.Contains(text, c) {
			rule.WriteString("|---")
		} else {
			rule.WriteString("|---:")
		}
	}
	var b strings.Builder
	b.WriteString(head.String() + "|\n" + rule.String() + "|\n")
	for _, line := range table {
		for _, c := range used {
			b.WriteString("| " + strings.ReplaceAll(line[c], "|", `\|`) + " ")
		}
		b.WriteString("|\n")
	}
	return b.String()
}
