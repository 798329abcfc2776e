// Package page is the look of every system: the layout, the style sheet, the
// script, and helpers to fill them.
//
// A page answers five questions in one order. What it is stands under its
// title. A template file then defines any of four sections, "do", "watch",
// "break" and "learn", or, for a page of another shape, "body":
//
//	{{define "do"}}
//	  <form method="post" action="set"> … </form>
//	{{end}}
//	{{define "watch"}}
//	  <div data-live-html="table">{{template "table" .Data.Keys}}</div>
//	{{end}}
//	{{define "table"}} … {{end}}
//
// A "head" may link the page's own style sheet and script, which the system
// serves itself: <script src="{{.Root}}static/seats.js" defer></script>.
//
// Everything works without JavaScript. With it, elements named by data-live
// and data-live-html follow the stream named by View.Stream, whose events
// called "live" carry a [Live].
package page

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"text/template/parse"

	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed templates
var templates embed.FS

// A Page is a parsed template in the common layout. A Page is safe for
// concurrent use by multiple goroutines.
type Page struct {
	info     system.Info
	template *template.Template
	sections []section
	body     bool
}

type section struct{ ID, Title, Block string }

// sections in their order, with the titles that they have unless View.Titles
// says otherwise.
var sections = []section{
	{"do", "Try it", "do"},
	{"watch", "Watch", "watch"},
	{"break", "Break it", "break"},
	{"learn", "How it works", "learn"},
}

// layout holds the common templates, with an empty one for each section.
var layout = template.Must(template.New("").Funcs(Funcs).ParseFS(templates, "templates/layout.html", "templates/parts.html"))

// Must parses files of fsys, the page's own first, together with the layout
// and the functions in [Funcs] and in extra, which may be nil. It panics on an
// error: pages are embedded, so an error is one of the program. A template
// named "row" in the files can be used as a fragment, see [Page.Fragment].
func Must(info system.Info, extra template.FuncMap, fsys fs.FS, files ...string) *Page {
	t, err := layout.Clone()
	if err != nil {
		panic(fmt.Sprintf("page: %v", err))
	}
	funcs := maps.Clone(template.FuncMap(Funcs))
	maps.Copy(funcs, extra)
	if _, err := t.Funcs(funcs).ParseFS(fsys, files...); err != nil {
		panic(fmt.Sprintf("page: %v", err))
	}
	p := &Page{info: info, template: t}
	for _, s := range sections {
		if !parse.IsEmptyTree(t.Lookup(s.Block).Tree.Root) {
			p.sections = append(p.sections, s)
		}
	}
	p.body = !parse.IsEmptyTree(t.Lookup("body").Tree.Root)
	return p
}

// A View is what one rendering of a page is made of. Every template that a
// page defines is executed with it.
type View struct {
	Title  string            // of this page; empty on the system's first page
	What   string            // one sentence; empty for the system's own
	Stream string            // path below the system's root of an event stream, "live"; empty for none
	Notice *Notice           // shown at the top
	Titles map[string]string // of sections, by block: {"do": "Store a value"}
	Data   any               // the page's own

	// What follows is filled in by Render.

	Info    system.Info
	Root    string // relative reference to the system's root: "./" or "../"
	Gallery bool   // whether there is a gallery above the root
	Theme   string // "", "light" or "dark"
	Here    string // path of the page below the system's root

	page *Page
}

// A Notice tells the result of what the user just did.
type Notice struct {
	Error bool   // it did not work
	Text  string // what happened and, for an error, what to do next
}

// Render answers with the page. A template that fails gives 500 and an error
// in the log of the server, never half a page.
func (p *Page) Render(w http.ResponseWriter, r *http.Request, status int, v View) {
	v.Info, v.Root, v.Gallery, v.page = p.info, web.Root(r), web.InGallery(r), p
	v.Here, v.Theme = web.Path(r), theme(r)
	if v.What == "" && v.Title == "" {
		v.What = p.info.What
	}
	var b bytes.Buffer
	if err := p.template.ExecuteTemplate(&b, "layout", v); err != nil {
		panic(fmt.Sprintf("page: %v", err)) // logged, and answered with 500, by web.Secure
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// Fragment renders one template of the page with data, for [Live.HTML]. It
// panics if the template fails.
func (p *Page) Fragment(name string, data any) template.HTML {
	var b bytes.Buffer
	if err := p.template.ExecuteTemplate(&b, name, data); err != nil {
		panic(fmt.Sprintf("page: %v", err))
	}
	return template.HTML(b.String())
}

// A Live is what an event called "live" carries: by key, the new text of
// elements with that data-live, and the new content of elements with that
// data-live-html.
type Live struct {
	Text map[string]string        `json:"text,omitempty"`
	HTML map[string]template.HTML `json:"html,omitempty"`
}

// FullTitle is the title of the browser's tab.
func (v View) FullTitle() string {
	switch {
	case v.Title == "" && v.Info.Name == "":
		return v.Info.Title
	case v.Title == "":
		return v.Info.Title + " · ashlar"
	}
	return v.Title + " · " + v.Info.Title
}

// Heading is the title on the page.
func (v View) Heading() string {
	if v.Title == "" {
		return v.Info.Title
	}
	return v.Title
}

// Sections lists the sections that the page defines.
func (v View) Sections() []section {
	list := make([]section, len(v.page.sections))
	for i, s := range v.page.sections {
		if title, ok := v.Titles[s.Block]; ok {
			s.Title = title
		}
		list[i] = s
	}
	return list
}

// Section renders the content of a section.
func (v View) Section(block string) template.HTML { return v.page.Fragment(block, v) }

// HasBody reports whether the page has a body of its own shape.
func (v View) HasBody() bool { return v.page.body }

// Current reports whether a link of the navigation leads to this page or to a
// page above it.
func (v View) Current(path string) bool {
	return path == v.Here || path != "" && len(v.Here) > len(path) && v.Here[:len(path)] == path
}

// Asset returns the relative address of a file of the design system.
func (v View) Asset(name string) string { return v.Root + "_kit/" + name + "?v=" + version }

// Error answers with a page that says what went wrong and leads back. text is
// shown to the user.
func Error(w http.ResponseWriter, r *http.Request, info system.Info, status int, text string) {
	Must(info, nil, templates, "templates/error.html").Render(w, r, status, View{
		Title: http.StatusText(status), What: text, Data: status,
	})
}
