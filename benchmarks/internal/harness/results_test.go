package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "RESULTS.md")
	section := func(pkg, row string) string {
		return Section(pkg, About{}, []Row{newRow(pkg, Spec{Group: "group", Name: row}, 1, []Figure{{Name: Ours, Value: 1}})})
	}
	for _, step := range []map[string]string{ // the first one finds no file
		{"lru": section("lru", "old")},
		{"cache/random": section("cache/random", "kept"), "tinylfu": section("tinylfu", "kept too")},
		{"lru": section("lru", "new")},
	} {
		if err := Merge(path, step); err != nil {
			t.Fatal(err)
		}
	}
	want := preface + "\n" + section("cache/random", "kept") + "\n" + section("lru", "new") + "\n" + section("tinylfu", "kept too")
	got := read(t, path)
	if got != want {
		t.Errorf("RESULTS.md is\n%s\nwant\n%s", got, want)
	}
	// Nothing to put in leaves it as it is.
	if err := Merge(path, nil); err != nil || read(t, path) != want {
		t.Errorf("merging nothing: %v\n%s", err, read(t, path))
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v: want RESULTS.md alone", files, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// What cannot be written leaves the old file whole, and nothing beside it.
func TestMergeFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "RESULTS.md")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Merge(path, map[string]string{"lru": "## lru\n"}); err == nil {
		t.Error("no error where the file is a folder")
	}
	if err := Merge(filepath.Join(dir, "none", "RESULTS.md"), nil); err == nil {
		t.Error("no error where there is no folder")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("left %v", files)
	}
}

func TestAbout(t *testing.T) {
	a := AboutNow("go run ./benchmarks lru", 7)
	for _, want := range []string{"`go run ./benchmarks lru`, 7 rounds, go", "processors", "UTC"} {
		if !strings.Contains(a.String(), want) {
			t.Errorf("%q without %q", a, want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
