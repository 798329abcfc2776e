package launcher

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// usage explains the command as a whole.
func usage(w io.Writer, definitions []system.Definition) {
	fmt.Fprint(w, "The systems of ashlar, running.\n\nUsage:\n\n"+
		"  go run ./examples [flags]             all of them, behind a gallery\n"+
		"  go run ./examples SYSTEM [flags]      one of them; SYSTEM -h lists its flags\n"+
		"  go run ./examples SYSTEM COMMAND …    a command of a system\n\nSystems:\n\n")
	wide := 0
	for _, d := range definitions {
		wide = max(wide, len(d.Name))
		for _, c := range d.Commands {
			wide = max(wide, len(d.Name)+1+len(c.Name))
		}
	}
	for _, d := range definitions {
		fmt.Fprintf(w, "  %-*s  %s\n", wide, d.Name, d.What)
		for _, c := range d.Commands {
			fmt.Fprintf(w, "  %-*s  %s\n", wide, d.Name+" "+c.Name, c.What)
		}
	}
	if len(definitions) == 0 {
		fmt.Fprintln(w, "  none yet")
	}
	c := newFlags(system.Definition{})
	fmt.Fprint(w, "\nFlags:\n\n")
	c.set.SetOutput(w)
	c.set.PrintDefaults()
}

// systemUsage explains one system.
func systemUsage(w io.Writer, d system.Definition, c *common) {
	fmt.Fprintf(w, "%s\n\nUsage:\n\n  go run ./examples %s [flags]\n", d.What, d.Name)
	for _, command := range d.Commands {
		fmt.Fprintf(w, "  go run ./examples %s %s [-h]    %s\n", d.Name, command.Name, command.What)
	}
	fmt.Fprint(w, "\nFlags:\n\n")
	c.set.SetOutput(w)
	c.set.PrintDefaults()
}

// suggest names the system that was perhaps meant.
func suggest(name string, definitions []system.Definition) string {
	best, least := "", 4
	for _, d := range definitions {
		n := distance(name, d.Name)
		if strings.HasPrefix(d.Name, name) {
			n = 0
		}
		if n < least {
			best, least = d.Name, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" Did you mean %s?", best)
}

// distance is how many letters must be put in, taken out or changed to turn a
// into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = slices.Min([]int{change, row[j] + 1, row[j+1] + 1})
		}
	}
	return row[len(b)]
}
