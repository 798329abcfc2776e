package intake

import (
	"bytes"
	"slices"
	"strings"
	"time"

	syslog "github.com/leodido/go-syslog/v4"
	"github.com/leodido/go-syslog/v4/rfc3164"
	"github.com/leodido/go-syslog/v4/rfc5424"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/parse"
)

// A syslogParser reads messages. It is for one goroutine.
type syslogParser struct {
	modern syslog.Machine // RFC 5424
	old    syslog.Machine // RFC 3164
	now    func() time.Time
}

func newSyslogParser(now func() time.Time) *syslogParser {
	return &syslogParser{
		modern: rfc5424.NewParser(rfc5424.WithBestEffort()),
		old:    rfc3164.NewParser(rfc3164.WithBestEffort(), rfc3164.WithRFC3339(), rfc3164.WithYear(rfc3164.CurrentYear{}), rfc3164.WithLocaleTimezone(time.Local), rfc3164.WithEmbeddedNewlines()),
		now:    now,
	}
}

// severities are those of syslog, from 0.
var severities = [8]entry.Level{entry.Fatal, entry.Fatal, entry.Fatal, entry.Error, entry.Warn, entry.Info, entry.Info, entry.Debug}

// message reads one message. What is in neither format is kept as it is, with
// the address that it came from as its host; sound says which it was.
func (p *syslogParser) message(data []byte, from string) (labels entry.Labels, e entry.Entry, sound bool) {
	data = bytes.TrimRight(data, "\r\n\x00")
	raw := parse.Clean(data)
	now := p.now()
	var base syslog.Base
	var fields []entry.Field
	if modern(data) {
		m, err := p.modern.Parse(data)
		if got, ok := m.(*rfc5424.SyslogMessage); ok && got != nil {
			base, fields = got.Base, structured(got)
			sound = err == nil
		}
	} else if m, err := p.old.Parse(data); m != nil {
		if got, ok := m.(*rfc3164.SyslogMessage); ok && got != nil {
			base = got.Base
			sound = err == nil
		}
	}
	if base.Message == nil && base.Hostname == nil && base.Appname == nil {
		return entry.MakeLabels("app", "syslog", "host", from), entry.Entry{Time: parse.When(raw, now), Level: parse.Level(raw), Line: raw}, false
	}
	text := func(s *string, otherwise string) string {
		if s == nil || *s == "" {
			return otherwise
		}
		return strings.ToValidUTF8(*s, "\ufffd")
	}
	labels = entry.MakeLabels("app", text(base.Appname, "syslog"), "host", text(base.Hostname, from))
	e.Line = strings.TrimPrefix(text(base.Message, raw), "\ufeff") // RFC 5424 marks UTF-8 so
	e.Level = parse.Level(e.Line)
	if base.Severity != nil && *base.Severity < 8 {
		e.Level = severities[*base.Severity]
	}
	e.Time = now
	if base.Timestamp != nil {
		e.Time = parse.Past(*base.Timestamp, now)
	}
	add := func(name string, value *string) {
		if value != nil && *value != "" && *value != "-" {
			e.Fields = append(e.Fields, entry.Field{Name: name, Value: strings.ToValidUTF8(*value, "\ufffd")})
		}
	}
	add("facility", base.FacilityLevel())
	add("procid", base.ProcID)
	add("msgid", base.MsgID)
	e.Fields = append(e.Fields, fields...)
	return labels, e, sound
}

// modern reports whether a message has a version, of one or two digits, and a
// space behind its priority.
func modern(data []byte) bool {
	i := bytes.IndexByte(data, '>')
	if i < 2 || i > 4 || data[0] != '<' {
		return false
	}
	digits, _, ok := bytes.Cut(data[i+1:min(len(data), i+4)], []byte(" "))
	return ok && len(digits) > 0 && digits[0] >= '1' && digits[0] <= '9' && (len(digits) < 2 || digits[1] >= '0' && digits[1] <= '9')
}

// structured returns the structured data as fields: id.name.
func structured(m *rfc5424.SyslogMessage) (fields []entry.Field) {
	if m.StructuredData == nil {
		return nil
	}
	for id, params := range *m.StructuredData {
		for name, value := range params {
			fields = append(fields, entry.Field{Name: id + "." + name, Value: strings.ToValidUTF8(value, "\ufffd")})
		}
	}
	slices.SortFunc(fields, func(a, b entry.Field) int { return strings.Compare(a.Name, b.Name) })
	return fields
}
