package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A Trace is a sequence of accesses. It is not changed by anything in this
// package once it is made.
type Trace struct {
	Name string
	Keys []uint64 // one an access

	// Sizes are the bytes that each access asked for, as many as Keys. Nil
	// means that every entry has the size 1.
	Sizes []uint32

	Format  Format // that it was read in; 0 for one that was generated
	Why     string // what made Read choose Format
	Trimmed bool   // whether the input held more accesses than Options.Limit
}

// Unique returns the number of different keys and, of each key's last size,
// the sum; without sizes that is the number of keys. It takes time and memory
// in proportion to the accesses.
func (t *Trace) Unique() (keys int, size int64) {
	last := make(map[uint64]uint32, 1024)
	for i, key := range t.Keys {
		last[key] = t.size(i)
	}
	for _, s := range last {
		size += int64(s)
	}
	return len(last), size
}

func (t *Trace) size(i int) uint32 {
	if t.Sizes == nil {
		return 1
	}
	return t.Sizes[i]
}

// Join returns the accesses of the traces one after the other. The result has
// sizes if each of them has.
func Join(name string, traces ...*Trace) *Trace {
	joined := &Trace{Name: name}
	sized := len(traces) > 0
	for _, t := range traces {
		joined.Keys = append(joined.Keys, t.Keys...)
		joined.Trimmed = joined.Trimmed || t.Trimmed
		sized = sized && t.Sizes != nil
	}
	if sized {
		for _, t := range traces {
			joined.Sizes = append(joined.Sizes, t.Sizes...)
		}
	}
	return joined
}

// Options are how a trace is read. A nil *Options means that all of it is
// guessed.
type Options struct {
	Name   string // of the trace
	Format Format // 0 means by the first lines

	// Key and Size choose columns of a file in the format CSV: by name where
	// the first line has names, or by number from 1. An empty Key means the
	// column that is named like one. An empty Size means that too, and no
	// sizes if there is none. Setting either makes CSV the format.
	Key, Size string

	// Limit is the number of accesses after which reading ends; 0 means
	// 100 million. The rest of the input is not looked at.
	Limit int

	// LineLimit is how long a line may be, in bytes; 0 means 64 KiB.
	LineLimit int

	// Progress, if not nil, is called now and then with the number of bytes
	// of the input read so far, before decompression.
	Progress func(read int64)
}

func (o *Options) orDefault() Options {
	var filled Options
	if o != nil {
		filled = *o
	}
	if filled.Limit <= 0 {
		filled.Limit = 100e6
	}
	if filled.LineLimit <= 0 {
		filled.LineLimit = 64 << 10
	}
	if filled.Format == 0 && (filled.Key != "" || filled.Size != "") {
		filled.Format = CSV
	}
	return filled
}

// A SyntaxError says which line of a trace cannot be read and why. The result
// of [Read] is a *SyntaxError whenever the input, and not the reader, is at
// fault.
type SyntaxError struct {
	Line   int    // from 1; 0 if no line in particular is wrong
	Reason string // what is wrong and what was expected
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return "trace: " + e.Reason
	}
	return fmt.Sprintf("trace: line %d: %s", e.Line, e.Reason)
}

// ReadFile reads the trace in a file, whose format it guesses. Its name is
// that of the file without the extensions for text and compression.
func ReadFile(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := Read(f, &Options{Name: NameOf(path)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// NameOf returns the name of a trace in a file of that path.
func NameOf(path string) string {
	name := filepath.Base(path)
	for {
		short := strings.TrimSuffix(name, filepath.Ext(name))
		switch strings.ToLower(filepath.Ext(name)) {
		case ".gz", ".txt", ".csv", ".tsv", ".lis", ".trace", ".trc", ".log":
			if short != "" {
				name = short
				continue
			}
		}
		return name
	}
}

// Read reads a trace to the end of r or to the limit in opts. It takes 8
// bytes of memory an access, 12 with sizes.
func Read(r io.Reader, opts *Options) (*Trace, error) {
	o := opts.orDefault()
	if o.Progress != nil {
		r = &counter{r: r, report: o.Progress}
	}
	in := bufio.NewReaderSize(r, 256<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("trace: %w", err)
	}
	if bytes.HasPrefix(head, []byte{0x1f, 0x8b}) {
		unzip, err := gzip.NewReader(in)
		if err != nil {
			return nil, inputError(err)
		}
		defer unzip.Close()
		in = bufio.NewReaderSize(unzip, 256<<10)
	} else if kind := foreign(head); kind != "" {
		return nil, &SyntaxError{Reason: "compressed by " + kind + "; expected text, plain or compressed by gzip"}
	}
	t := &Trace{Name: o.Name, Format: o.Format, Why: "as told"}
	lines := &lineReader{in: in, limit: o.LineLimit}
	sample, err := lines.peek()
	if err != nil {
		return nil, err
	}
	if t.Format == 0 {
		if t.Format, t.Why, err = Detect(sample); err != nil {
			return nil, err
		}
	}
	parse, err := newParser(t.Format, &o, sample)
	if err != nil {
		return nil, err
	}
	if err := t.fill(lines, parse, o.Limit); err != nil {
		return nil, err
	}
	if len(t.Keys) == 0 {
		return nil, &SyntaxError{Reason: "no accesses; expected " + t.Format.expects()}
	}
	return t, nil
}

// fill reads the lines.
func (t *Trace) fill(lines *lineReader, parse parser, limit int) error {
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(line) == 0 {
			continue
		}
		a, reason := parse(line)
		switch {
		case reason != "":
			return &SyntaxError{Line: lines.line, Reason: reason}
		case a.count == 0:
			continue
		case a.sized && t.Sizes == nil:
			t.Sizes = []uint32{}
		}
		room := limit - len(t.Keys)
		for i := range min(a.count, uint64(room)) {
			t.Keys = append(t.Keys, a.key+i)
			if a.sized {
				t.Sizes = append(t.Sizes, a.size)
			}
		}
		if a.count > uint64(room) {
			t.Trimmed = true
			return nil
		}
	}
}

// foreign names the compression that the first bytes are a mark of.
func foreign(head []byte) string {
	for mark, kind := range map[string]string{"\x28\xb5\x2f\xfd": "zstd", "\xfd7zXZ": "xz", "BZh": "bzip2", "PK\x03\x04": "zip", "\x04\x22\x4d\x18": "lz4"} {
		if bytes.HasPrefix(head, []byte(mark)) {
			return kind
		}
	}
	return ""
}

// inputError blames the input for what only it can cause.
func inputError(err error) error {
	switch {
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.Is(err, io.ErrUnexpectedEOF), strings.HasPrefix(err.Error(), "flate: "):
		return &SyntaxError{Reason: "damaged or cut short: " + err.Error()}
	}
	return fmt.Errorf("trace: %w", err)
}

// lineReader cuts the input into lines.
type lineReader struct {
	in    *bufio.Reader
	limit int
	line  int // number of the line that next returned
	long  []byte
}

// peek returns the complete lines at the beginning of the input, up to 64 KiB,
// without reading them.
func (l *lineReader) peek() ([]byte, error) {
	sample, err := l.in.Peek(64 << 10)
	switch {
	case err == nil:
		if end := bytes.LastIndexByte(sample, '\n'); end >= 0 {
			sample = sample[:end]
		}
	case !errors.Is(err, io.EOF):
		return nil, inputError(err)
	}
	if bytes.IndexByte(sample, 0) >= 0 {
		return nil, &SyntaxError{Reason: "not text: it has bytes that are 0; expected lines of text, plain or compressed by gzip"}
	}
	return sample, nil
}

// next returns the next line without the white space around it, or io.EOF.
// The line is valid until the next call.
func (l *lineReader) next() ([]byte, error) {
	part, err := l.in.ReadSlice('\n')
	l.long = l.long[:0]
	line := part
	for errors.Is(err, bufio.ErrBufferFull) && len(l.long)+len(part) <= l.limit {
		l.long = append(l.long, part...)
		part, err = l.in.ReadSlice('\n')
		line = nil
	}
	if line == nil {
		l.long = append(l.long, part...)
		line = l.long
	}
	l.line++
	switch {
	case len(bytes.TrimRight(line, "\r\n")) > l.limit:
		return nil, &SyntaxError{Line: l.line, Reason: fmt.Sprintf("longer than %d bytes", l.limit)}
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, io.EOF
	case err != nil && !errors.Is(err, io.EOF):
		return nil, inputError(err)
	}
	return bytes.TrimSpace(line), nil
}

// counter counts what is read.
type counter struct {
	r      io.Reader
	read   int64
	report func(int64)
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	c.report(c.read)
	return n, err
}

// Data returns the path of the file name.txt.gz among the shared traces, which
// lie in ../shared/data/cache-traces beside the repository, and whether it is
// there. The repository is the closest directory above the current one that
// has a go.work.
func Data(name string) (path string, ok bool) {
	dir, ok := dataDir()
	if !ok || name != filepath.Base(name) {
		return "", false
	}
	path = filepath.Join(dir, name+".txt.gz")
	info, err := os.Stat(path)
	return path, err == nil && info.Mode().IsRegular()
}

// Names returns the names for which [Data] finds a file, in order.
func Names() []string {
	dir, ok := dataDir()
	if !ok {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(dir, "*.txt.gz")) // the pattern is good
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = strings.TrimSuffix(filepath.Base(path), ".txt.gz")
	}
	return names
}

func dataDir() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			data := filepath.Join(filepath.Dir(dir), "shared", "data", "cache-traces")
			info, err := os.Stat(data)
			return data, err == nil && info.IsDir()
		}
		if dir == filepath.Dir(dir) {
			return "", false
		}
		dir = filepath.Dir(dir)
	}
}

// Composite is the name of a trace made of three others: the recency of
// corda-vault, the loop of lirs-loop, and corda-vault again.
const Composite = "corda+loop+corda"

// Load reads the shared trace of that name, or [Composite]. The error is
// fs.ErrNotExist where there is none.
func Load(name string) (*Trace, error) {
	if name == Composite {
		corda, err := Load("corda-vault")
		if err != nil {
			return nil, err
		}
		loop, err := Load("lirs-loop")
		if err != nil {
			return nil, err
		}
		return Join(name, corda, loop, corda), nil
	}
	path, ok := Data(name)
	if !ok {
		return nil, fmt.Errorf("trace: no shared trace %q: %w", name, fs.ErrNotExist)
	}
	return ReadFile(path)
}
