package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/logging/query"
)

// A Kind is what a rule looks at.
type Kind string

// The kinds of rules.
const (
	Any      Kind = "any"
	Count    Kind = "count"
	Spike    Kind = "spike"
	Flatline Kind = "flatline"
	New      Kind = "new"
	Distinct Kind = "distinct"
)

// Severities of rules, in ascending order.
var Severities = []string{"info", "warning", "critical"}

// A Rule says what somebody should know. Create one with [Parse]. A Rule is
// not changed after that and may be used by many goroutines.
type Rule struct {
	Name      string
	Text      string // what it was parsed from
	Kind      Kind
	Field     string  // of new and distinct
	Threshold float64 // of count, flatline, distinct; of spike the factor
	Window    time.Duration
	Least     int64    // of spike: fewer hits in a window are none
	Per       []string // names of labels or fields
	For       time.Duration
	Realert   time.Duration
	Severity  string
	Query     *query.Query
}

// Limits of rules.
const (
	MaxName   = 64
	MaxText   = 4 << 10
	MaxWindow = 7 * 24 * time.Hour
	MinWindow = time.Second
)

// ErrBadRule is wrapped by errors of Parse.
var ErrBadRule = errors.New("rules: bad rule")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBadRule}, args...)...)
}

// Parse parses a rule. Errors wrap [ErrBadRule] or are those of the query.
func Parse(name, text string) (*Rule, error) {
	name, text = strings.TrimSpace(name), strings.TrimSpace(text)
	switch {
	case name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return nil, bad("a name has 1 to %d bytes", MaxName)
	case len(text) > MaxText:
		return nil, bad("a rule has at most %d bytes", MaxText)
	}
	r := &Rule{Name: name, Text: text, Realert: 10 * time.Minute, Severity: "warning", Least: 10}
	head, rest, ok := cutWord(text, "where")
	if !ok {
		return nil, bad("where and a query are missing, as in: count >= 20 in 1m where level=error")
	}
	if err := r.condition(strings.Fields(strings.ReplaceAll(head, ",", " , "))); err != nil {
		return nil, err
	}
	q, err := query.Parse(strings.TrimSpace(rest))
	if err != nil {
		return nil, err
	}
	r.Query = q
	return r, nil
}

// cutWord cuts text around the first word that stands alone.
func cutWord(text, word string) (before, after string, found bool) {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return text, "", false
		}
		i += from
		end := i + len(word)
		if (i == 0 || text[i-1] == ' ' || text[i-1] == '\n' || text[i-1] == '\t') && (end == len(text) || strings.ContainsRune(" \n\t\r", rune(text[end]))) {
			return text[:i], text[end:], true
		}
		from = end
	}
}

// words are what is left to read of a rule.
type words []string

func (w *words) next() string {
	if len(*w) == 0 {
		return ""
	}
	s := (*w)[0]
	*w = (*w)[1:]
	return s
}

func (w *words) take(word string) bool {
	if len(*w) > 0 && (*w)[0] == word {
		*w = (*w)[1:]
		return true
	}
	return false
}

func (r *Rule) condition(list []string) error {
	w := words(list)
	r.Kind = Kind(w.next())
	var err error
	switch r.Kind {
	case Any:
		r.Threshold, r.Window = 1, 5*time.Minute
	case Count:
		err = r.threshold(&w, ">=", ">")
	case Flatline:
		err = r.threshold(&w, "<", "<=")
	case Spike:
		err = r.number(w.next())
		if err == nil && r.Threshold <= 1 {
			err = bad("a spike must be more than 1 times what was before")
		}
	case New, Distinct:
		if r.Field = w.next(); r.Field == "" {
			return bad("%s needs the name of a label or field", r.Kind)
		}
		if r.Kind == Distinct {
			err = r.threshold(&w, ">=", ">")
		}
	case "":
		return bad("it is empty")
	default:
		return bad("there is no kind %q: any, count, spike, flatline, new, distinct", r.Kind)
	}
	if err != nil {
		return err
	}
	return r.settings(&w)
}

// threshold reads >= 20; the strict form is turned into the other.
func (r *Rule) threshold(w *words, op, other string) error {
	got := w.next()
	if got != op && got != other {
		return bad("%s needs %s and a number", r.Kind, op)
	}
	if err := r.number(w.next()); err != nil {
		return err
	}
	if got == other {
		r.Threshold++
	}
	return nil
}

func (r *Rule) number(s string) error {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || !(v >= 0 && v <= 1e12) {
		return bad("%q is not a number from 0", s)
	}
	r.Threshold = v
	return nil
}

func (r *Rule) settings(w *words) error {
	for len(*w) > 0 {
		var err error
		switch word := w.next(); word {
		case "in":
			r.Window, err = duration(w.next(), MinWindow, MaxWindow)
		case "for":
			r.For, err = duration(w.next(), 0, MaxWindow)
		case "realert":
			r.Realert, err = duration(w.next(), 0, MaxWindow)
		case "severity":
			if r.Severity = w.next(); !slices.Contains(Severities, r.Severity) {
				err = bad("severity is %s", strings.Join(Severities, ", "))
			}
		case "min":
			r.Least, err = strconv.ParseInt(w.next(), 10, 32)
			if err != nil || r.Least < 0 {
				err = bad("min needs a whole number")
			}
		case "per":
			for {
				name := w.next()
				if name == "" || name == "," {
					return bad("per needs names of labels or fields")
				}
				r.Per = append(r.Per, name)
				if !w.take(",") {
					break
				}
			}
		default:
			err = bad("%q is no setting: in, per, for, realert, severity, min", word)
		}
		if err != nil {
			return err
		}
	}
	if r.Window == 0 {
		return bad("%s needs a window, as in: in 1m", r.Kind)
	}
	if r.Kind == Flatline && r.Threshold == 0 {
		return bad("there are never fewer than 0")
	}
	return nil
}

// duration reads 90s, 5m, 2h, 1h30m, 7d.
func duration(s string, low, high time.Duration) (time.Duration, error) {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		if err == nil && (n < 0 || n > 1000) {
			err = strconv.ErrRange
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < low || d > high {
		return 0, bad("%q is not a time from %v to %v, such as 30s, 5m, 2h or 7d", s, low, high)
	}
	return d, nil
}

// holds says what it means that the condition holds, for people.
func (r *Rule) holds(n float64) string {
	window := short(r.Window)
	count := strconv.FormatFloat(n, 'f', -1, 64)
	switch r.Kind {
	case Any:
		return "seen " + times(n)
	case Count:
		return count + " in " + window
	case Spike:
		return count + " in " + window + ", more than " + strconv.FormatFloat(r.Threshold, 'f', -1, 64) + " times what the window before had"
	case Flatline:
		return "only " + count + " in " + window
	case New:
		return "not seen in the " + window + " before"
	}
	return count + " different " + r.Field + " in " + window
}

func times(n float64) string {
	if n == 1 {
		return "once"
	}
	return strconv.FormatFloat(n, 'f', -1, 64) + " times"
}

// short writes 1m0s as 1m.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
