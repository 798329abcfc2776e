package shortener

import "strings"

// Words are what codes must not be or contain: names that the site needs for
// itself, and words that nobody wants in a link. The zero Words allow all.
//
// Words are safe for concurrent use by multiple goroutines.
type Words struct {
	reserved map[string]bool // whole codes, in small letters
	foul     []string        // parts of codes, as plain makes them
}

// NewWords returns words. Reserved ones are what a code must not be as a whole,
// in capital or small letters. Foul ones must not be in it anywhere, in
// whatever letters, and with digits for letters that look like them.
func NewWords(reserved, foul []string) *Words {
	w := &Words{reserved: map[string]bool{}}
	for _, word := range reserved {
		w.reserved[strings.ToLower(word)] = true
	}
	for _, word := range foul {
		if p := plain(word); p != "" {
			w.foul = append(w.foul, p)
		}
	}
	return w
}

// DefaultWords are paths that sites commonly use, and a short list of words that
// English codes should not have.
func DefaultWords() *Words {
	return NewWords([]string{
		"about", "account", "admin", "api", "app", "assets", "auth", "blog", "contact", "dashboard", "debug", "favicon", "health",
		"healthz", "help", "home", "index", "legal", "login", "logout", "me", "metrics", "new", "privacy", "robots", "search", "settings",
		"signin", "signup", "sitemap", "static", "stats", "status", "support", "terms", "user", "users", "well-known", "www",
	}, []string{
		"anal", "anus", "arse", "bitch", "cock", "coon", "crap", "cum", "cunt", "damn", "dick", "dyke", "fag", "fuck", "fuk", "gook",
		"hell", "homo", "jizz", "kike", "kill", "nazi", "negro", "nigg", "paki", "penis", "piss", "poop", "porn", "pussy", "rape",
		"sex", "shit", "slut", "spic", "tits", "turd", "twat", "vagin", "wank", "whore",
	})
}

// Reserved reports whether a code as a whole is a reserved word.
func (w *Words) Reserved(code string) bool { return w != nil && w.reserved[strings.ToLower(code)] }

// Foul reports whether there is a foul word in a code.
func (w *Words) Foul(code string) bool {
	if w == nil || len(w.foul) == 0 {
		return false
	}
	p := plain(code)
	for _, word := range w.foul {
		if strings.Contains(p, word) {
			return true
		}
	}
	return false
}

// plain returns a word in small letters, in which digits are the letters that
// they look like, and without marks between them.
func plain(word string) string {
	var room [64]byte
	b := room[:0]
	for i := range len(word) {
		switch c := word[i]; {
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		case c == '0':
			b = append(b, 'o')
		case c == '1' || c == '!':
			b = append(b, 'i')
		case c == '3':
			b = append(b, 'e')
		case c == '4' || c == '@':
			b = append(b, 'a')
		case c == '5' || c == '$':
			b = append(b, 's')
		case c == '7':
			b = append(b, 't')
		case c == '8':
			b = append(b, 'b')
		case c == '-' || c == '_' || c == '~':
		default:
			b = append(b, c)
		}
	}
	return string(b)
}
