package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed assets
var assets embed.FS

// version changes with the assets, so that a browser may keep them for good.
var version = func() string {
	hash := sha256.New()
	err := fs.WalkDir(assets, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := assets.ReadFile(name)
		hash.Write(data)
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("page: %v", err)) // they are embedded
	}
	return hex.EncodeToString(hash.Sum(nil))[:12]
}()

// Assets serves the design system under /_kit/: the style sheet, the script,
// the icon, the accent colours of infos, the first of which is the page's own,
// and the form that remembers a theme.
func Assets(infos ...system.Info) http.Handler {
	accents := []byte(accentSheet(infos))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_kit/accent.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(accents)
	})
	mux.HandleFunc("GET /_kit/{name}", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		data, err := assets.ReadFile("assets/" + name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
		w.Header().Set("Content-Type", types[path.Ext(name)])
		if r.URL.Query().Get("v") == version {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-cache")
		}
		_, _ = w.Write(data)
	})
	mux.HandleFunc("POST /_kit/theme", setTheme)
	return mux
}

func accentSheet(infos []system.Info) string {
	var b strings.Builder
	for i, info := range infos {
		if i == 0 {
			fmt.Fprintf(&b, ":root{--hue:%d}\n", info.Hue)
		}
		if info.Name != "" {
			fmt.Fprintf(&b, ".of-%s{--hue:%d}\n", info.Name, info.Hue)
		}
	}
	return b.String()
}

// themeCookie holds "light" or "dark". It is shared by all systems of a host
// and read by the script too.
const themeCookie = "ashlar_theme"

var themes = []string{"", "light", "dark"}

func theme(r *http.Request) string {
	cookie, err := r.Cookie(themeCookie)
	if err != nil || !slices.Contains(themes, cookie.Value) {
		return ""
	}
	return cookie.Value
}

// setTheme stores the theme that was asked for and leads back to the page that
// the form was on.
func setTheme(w http.ResponseWriter, r *http.Request) {
	chosen := r.PostFormValue("theme")
	if !slices.Contains(themes, chosen) {
		http.Error(w, "The theme is light, dark, or empty for the system's.", http.StatusBadRequest)
		return
	}
	cookie := &http.Cookie{Name: themeCookie, Value: chosen, Path: "/", MaxAge: 365 * 24 * 60 * 60, SameSite: http.SameSiteLaxMode}
	if chosen == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
	back := web.Root(r)
	if referer, err := url.Parse(r.Referer()); err == nil && referer.Host == r.Host && strings.HasPrefix(referer.Path, "/") && !strings.HasPrefix(referer.Path, "//") {
		// With the host in front, since the path is already the browser's and
		// must not get this system's prefix again.
		back = "//" + r.Host + referer.RequestURI()
	}
	w.Header().Set("Location", back)
	w.WriteHeader(http.StatusSeeOther)
}
