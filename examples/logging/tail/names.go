package tail

import (
	"fmt"
	"path/filepath"
	"strings"
)

func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("tail: pattern %q: %w", p, err)
		}
	}
	return nil
}

// readable are endings of compressed files that can be read, and packed those
// of others.
var (
	readable = []string{".gz", ".zst", ".bz2"}
	packed   = []string{".gz", ".zst", ".bz2", ".xz", ".lz4", ".lzma", ".Z", ".zip", ".7z", ".br"}
)

// compression returns the ending that says how a file is compressed, or "".
func compression(name string) string {
	for _, ending := range packed {
		if strings.HasSuffix(name, ending) {
			return ending
		}
	}
	return ""
}

// rotated reports whether a name is one that rotation makes of base: with a
// number or date behind it or before its extension, and perhaps compressed.
func rotated(name, base string) bool {
	if name == base {
		return false
	}
	name = strings.TrimSuffix(name, compression(name))
	if rest, ok := strings.CutPrefix(name, base); ok {
		return rest == "" || rest == ".old" || rest == ".bak" || turn(rest)
	}
	ext := filepath.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if ext == "" || stem == "" {
		return false
	}
	rest, ok := strings.CutPrefix(name, stem)
	if !ok {
		return false
	}
	rest, ok = strings.CutSuffix(rest, ext)
	return ok && turn(rest)
}

// turn reports whether s is a separator and a number or date.
func turn(s string) bool {
	if len(s) < 2 || !strings.ContainsRune(".-_", rune(s[0])) {
		return false
	}
	figures := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			figures = true
		case strings.IndexByte(".-_T:Z+", c) >= 0:
		default:
			return false
		}
	}
	return figures
}
