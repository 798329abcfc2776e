package ashlar

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/ashlar-go/ashlar"

// libraries are the modules that a package may import besides the standard
// library; testify is for tests and conformance suites.
var libraries = []string{"github.com/google/btree", "github.com/cespare/xxhash/v2", "github.com/golang/geo"}

// allowed reads the table in doc.go: package, then the siblings it may import.
func allowed(t *testing.T) map[string][]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	require.NoError(t, err)
	table := map[string][]string{}
	reading := false
	for line := range strings.Lines(file.Doc.Text()) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "\tpackage "):
			reading = true
		case reading && !strings.HasPrefix(line, "\t"):
			return table
		case reading && len(fields) == 2 && fields[1] == "-":
			table[fields[0]] = nil
		case reading:
			require.NotContains(t, table, fields[0], "listed twice")
			table[fields[0]] = fields[1:]
		}
	}
	return table
}

// goFiles calls visit for every Go file of the root module.
func goFiles(t *testing.T, visit func(pkg, path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != "." {
				_, nested := os.Stat(filepath.Join(path, "go.mod"))
				if nested == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
					return fs.SkipDir
				}
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") {
			visit(filepath.ToSlash(filepath.Dir(path)), path)
		}
		return nil
	})
	require.NoError(t, err)
}

func TestImportsKeepToTheMap(t *testing.T) {
	table := allowed(t)
	require.NotEmpty(t, table)
	seen := map[string]bool{}
	goFiles(t, func(pkg, path string) {
		if pkg == "." {
			return
		}
		seen[pkg] = true
		may, listed := table[pkg]
		if !listed {
			t.Errorf("%s: package %s is missing from the map in doc.go", path, pkg)
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			sibling, isSibling := strings.CutPrefix(imported, module+"/")
			first, _, _ := strings.Cut(imported, "/")
			switch {
			case isSibling && !strings.HasSuffix(path, "_test.go") && !slices.Contains(may, sibling):
				t.Errorf("%s imports %s, which the map in doc.go does not allow", path, sibling)
			case isSibling || !strings.Contains(first, "."):
			case strings.HasPrefix(imported, "github.com/stretchr/testify/") && strings.HasSuffix(path, "_test.go"):
			case !slices.ContainsFunc(libraries, func(lib string) bool { return imported == lib || strings.HasPrefix(imported, lib+"/") }):
				t.Errorf("%s imports %s: only the standard library, the four libraries and siblings", path, imported)
			}
		}
	})
	for pkg := range table {
		if !seen[pkg] {
			t.Errorf("doc.go lists %s, which does not exist", pkg)
		}
	}
}

// The front page of the repository and of pkg.go.dev list what exists.
func TestReadmeAndDocListEveryPackage(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	for pkg := range allowed(t) {
		if strings.HasPrefix(pkg, "internal/") {
			continue
		}
		if !strings.Contains(string(doc), "["+module+"/"+pkg+"]") {
			t.Errorf("doc.go does not introduce %s", pkg)
		}
		if !strings.Contains(string(readme), "("+pkg+")") {
			t.Errorf("README.md has no row for %s", pkg)
		}
	}
	systems, err := filepath.Glob("examples/*/README.md")
	require.NoError(t, err)
	for _, path := range systems {
		if dir := filepath.ToSlash(filepath.Dir(path)); !strings.Contains(string(readme), "("+dir+")") {
			t.Errorf("README.md has no row for the system %s", dir)
		}
	}
	for _, command := range []string{"go run ./examples", "go test work"} {
		if !strings.Contains(string(readme), command) {
			t.Errorf("README.md does not say %q", command)
		}
	}
}
