package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// About says how, where and when figures came to be.
type About struct {
	Command    string
	Rounds     int
	Go         string // version, operating system and architecture
	Processors int
	Model      string // of the processors, if known
	When       time.Time
}

// AboutNow returns the circumstances of this process.
func AboutNow(command string, rounds int) About {
	return About{
		Command: command, Rounds: rounds, Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Processors: runtime.GOMAXPROCS(0), Model: processor(), When: time.Now().UTC(),
	}
}

// String is the line above the tables of a section.
func (a About) String() string {
	model := ""
	if a.Model != "" {
		model = " (" + a.Model + ")"
	}
	return fmt.Sprintf("`%s`, %d rounds, %s, %d processors%s, %s", a.Command, a.Rounds, a.Go, a.Processors, model, a.When.Format("2006-01-02 15:04 MST"))
}

// processor returns the name of the processor where Linux tells it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

const preface = `# Results

Every section was written by the command it names, on the machine and at the time it names. Implementations take turns in one process, round after round,
after a forced collection each. Times are processor time of the whole process per operation, in ns; a figure is the median over rounds, and "ours / its" the
median of the ratios within a round. Spread is (max − min) / median over rounds, of that ratio or else of our figure. Compare ratios; nanoseconds belong to the
machine. † marks a published figure of an implementation that was not run: it cannot be had from the module proxy. In the sections commitlog and kvstore every
implementation has processes and a directory of its own in each round, and rates, latencies and times of opening are elapsed time.
`

// Merge puts sections, by package, into the Markdown file at path. Those of
// other packages stay as they are; all are in the order of their names.
func Merge(path string, sections map[string]string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all := split(string(old))
	maps.Copy(all, sections)
	var b strings.Builder
	b.WriteString(preface)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b.WriteString("\n" + strings.TrimRight(all[name], "\n") + "\n")
	}
	// Beside the old file first, so that a crash leaves one of the two whole.
	temp, err := os.CreateTemp(filepath.Dir(path), ".results-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.WriteString(b.String())
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// split returns the sections of a file by the names in their headings.
func split(text string) map[string]string {
	sections := map[string]string{}
	_, text, found := strings.Cut("\n"+text, "\n## ")
	for found {
		var section string
		section, text, found = strings.Cut(text, "\n## ")
		name, _, _ := strings.Cut(section, "\n")
		sections[strings.TrimSpace(name)] = "## " + section
	}
	return sections
}
