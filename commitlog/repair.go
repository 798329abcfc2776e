package commitlog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A Damage is a stretch of a log that could not be read and that Repair has
// taken out.
type Damage struct {
	Segment  string // the name of the file
	Position int64  // in the file, in bytes
	Length   int64  // in bytes; 0 if the bytes are missing
	From, To int64  // offsets of the records that may have been lost; To is not, -1 if not known
	Reason   string
	Aside    string // the file in the directory that has the bytes now, "" if there are none
}

// String returns the damage in one line.
func (d Damage) String() string {
	return fmt.Sprintf("%s: %s at byte %d, %d bytes, offsets %d to %d", d.Segment, d.Reason, d.Position, d.Length, d.From, d.To)
}

// A Report says what Repair has found and done.
type Report struct {
	Segments int      // that were looked at
	Batches  int      // that are good
	Damages  []Damage // in the order of the log; empty if nothing was wrong
}

// Repair makes a log that Open refuses usable again. It reads the whole log
// and takes out what is damaged: a file whose bytes are not all good is written
// anew with the good batches, and the bad bytes are set aside in a file next
// to it, for somebody to look at; a truncation that cannot be finished is given
// up. Good batches keep their offsets, behind the
// damage too, and offsets that were given once are not given again; so there
// are gaps afterwards. A torn tail is no damage, and left to Open.
//
// Nobody else may have the log open: ErrLocked. With an error the log is as it
// was or partly repaired, and Repair can be called again.
func Repair(dir string, opts *Options) (Report, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return Report{}, err
	}
	fs := o.FS
	if fs == nil {
		if fs, err = vfs.Dir(dir); err != nil {
			return Report{}, fmt.Errorf("commitlog: %w", err)
		}
		defer fs.Close()
	}
	lock, err := lockDir(fs)
	if err != nil {
		return Report{}, err
	}
	defer lock.Close()
	r := &repair{dir: fs, every: int64(max(o.IndexBytes, frameMinimum)), now: millis(o.Now())}
	if err := r.run(); err != nil {
		return r.Report, fmt.Errorf("commitlog: repair: %w", err)
	}
	return r.Report, nil
}

type repair struct {
	Report
	dir   vfs.FS
	every int64
	now   int64
}

// A stretch is a part of a segment, of good frames or of bad bytes.
type stretch struct {
	from, to int64
	reason   string // "" for good frames
	next     int64  // the offset that was expected at from
	first    int64  // the first offset of good frames, -1 if there are only marks
	given    int64  // of good frames: a mark says that the offsets below were given
}

func (r *repair) run() error {
	names, err := r.dir.List()
	if err != nil {
		return err
	}
	var segments []*segment
	defer func() {
		for _, s := range segments {
			s.close()
		}
	}()
	for _, name := range names {
		if strings.HasPrefix(name, intentPrefix) && !isTemporary(name) && !strings.HasSuffix(name, asideSuffix) {
			if err := r.intent(name); err != nil {
				return err
			}
		}
		base, ok := parseSegmentName(name)
		if !ok {
			continue
		}
		r.Segments++
		s, err := openSegment(r.dir, name, r.every)
		if corrupt, ok := errors.AsType[*CorruptError](err); ok {
			err = r.setFileAside(name, base, corrupt.Reason)
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		segments = append(segments, s)
	}
	if len(segments) > 0 {
		if err := r.head(segments[0]); err != nil {
			return fmt.Errorf("%s: %w", segments[0].name, err)
		}
	}
	for i, s := range segments {
		following := int64(-1)
		if i+1 < len(segments) {
			following = segments[i+1].base
		}
		if err := r.segment(s, following); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if len(segments) > 0 {
		return r.ensureTail(segments[len(segments)-1])
	}
	return nil
}

// intent gives a truncation up that Open could not finish: it is not known what
// was to be left of a batch. What it has removed already is found missing.
func (r *repair) intent(name string) error {
	_, _, err := readIntent(r.dir, name)
	corrupt, ok := errors.AsType[*CorruptError](err)
	if !ok {
		return err
	}
	return r.setFileAside(name, corrupt.Offset, corrupt.Reason)
}

const asideSuffix = ".damaged"

// setFileAside gives a file up of which not even the header can be read.
func (r *repair) setFileAside(name string, base int64, reason string) error {
	size, _, err := r.dir.Stat(name)
	if err != nil {
		return err
	}
	aside := name + asideSuffix
	if err := r.dir.Rename(name, aside); err != nil {
		return err
	}
	r.Damages = append(r.Damages, Damage{name, 0, size, base, -1, reason, aside})
	return r.dir.SyncDir()
}

// head makes the log begin with the first segment that there is.
func (r *repair) head(s *segment) error {
	start := s.saved.start
	if start >= s.base {
		return nil
	}
	r.Damages = append(r.Damages, Damage{segmentName(start), 0, 0, start, s.base, "segment is missing", ""})
	c := s.saved
	c.start = s.base
	return s.writeBoth(c)
}

// segment repairs a segment that is followed by one with the base following,
// or by none if that is negative.
func (r *repair) segment(s *segment, following int64) error {
	size, err := s.file.Size()
	if err != nil {
		return err
	}
	end := size
	if s.saved.sealed() {
		end = min(size, s.saved.position)
	}
	stretches, next, err := r.survey(s, end, following)
	if err != nil {
		return err
	}
	before := len(r.Damages)
	reach := max(next, s.saved.next) // offsets below were given
	for _, x := range stretches {
		reach = max(reach, x.given)
	}
	if size < s.saved.position {
		r.Damages = append(r.Damages, Damage{s.name, size, 0, next, reach, "file cut off", ""})
	}
	if following >= 0 && reach < following {
		r.Damages = append(r.Damages, Damage{segmentName(reach), 0, 0, reach, following, "segment is missing", ""})
	}
	for i, x := range stretches {
		if x.reason == "" {
			continue
		}
		lost := reach
		for _, y := range stretches[i+1:] {
			if y.reason == "" && y.first >= 0 {
				lost = y.first
				break
			}
		}
		aside, err := r.setAside(s, x)
		if err != nil {
			return err
		}
		r.Damages = append(r.Damages, Damage{s.name, x.from, x.to - x.from, x.next, max(lost, x.next), x.reason, aside})
	}
	if len(r.Damages) == before && (following < 0 || s.saved.next == following && s.saved.sealed() || reach == following) {
		return nil
	}
	if following >= 0 {
		reach = following
	}
	return r.rewrite(s, stretches, reach, following >= 0)
}

// survey divides the frames of a segment into good and bad stretches. Batches
// at or after following belong to the next segment and count as bad.
func (r *repair) survey(s *segment, end, following int64) (all []stretch, next int64, err error) {
	next = s.base
	for position := int64(headerSize); position < end; {
		good := stretch{from: position, next: next, first: -1}
		reason := ""
		sc := s.scan(position, end, true)
		for {
			f, at, err := sc.next()
			if err == io.EOF {
				position = end
				break
			}
			if err != nil {
				return nil, 0, err
			}
			good.given = max(good.given, f.next)
			if b := f.batch; f.reason == "" && b != nil {
				if b.BaseOffset() < next || following >= 0 && b.LastOffset() >= following {
					f.reason = fmt.Sprintf("offset %d after %d", b.BaseOffset(), next-1)
				} else {
					next = b.LastOffset() + 1
					r.Batches++
					if good.first < 0 {
						good.first = b.BaseOffset()
					}
				}
			}
			if f.reason != "" {
				position, reason = at, f.reason
				break
			}
		}
		good.to = position
		if good.to > good.from {
			all = append(all, good)
		}
		if reason == "" {
			break
		}
		bad, err := r.badStretch(s, position, end, next, reason)
		if err != nil || bad.reason == "" {
			return all, next, err
		}
		all = append(all, bad)
		position = bad.to
	}
	return all, next, nil
}

// badStretch finds the end of the damage that begins at a position. Its reason
// is empty if that is the end of the log.
func (r *repair) badStretch(s *segment, position, end, next int64, reason string) (stretch, error) {
	zero, err := s.zeroFrom(position, end)
	if err != nil || zero && position >= s.saved.position {
		return stretch{}, err
	}
	t := tail{position: position, next: next, size: end, reason: reason}
	if !s.saved.sealed() && position >= s.saved.position {
		err := s.judge(t)
		if err == nil {
			return stretch{}, nil // torn
		}
		if !errors.Is(err, ErrCorrupt) {
			return stretch{}, err
		}
	}
	b := make([]byte, end-position)
	n, err := s.file.ReadAt(b, position)
	if err != nil && err != io.EOF {
		return stretch{}, err
	}
	b = b[:n]
	at := 1
	for at < len(b) {
		at += candidate(b[at:])
		if at >= len(b) {
			break
		}
		f := s.parse(b[at:], position+int64(at), end, true)
		if f.reason == "" && f.short == 0 && (f.batch == nil || f.batch.BaseOffset() >= next) {
			break
		}
		at++
	}
	return stretch{position, position + int64(min(at, len(b))), reason, next, -1, 0}, nil
}

// setAside copies bad bytes into a file of their own.
func (r *repair) setAside(s *segment, x stretch) (name string, err error) {
	b := make([]byte, x.to-x.from)
	if _, err := s.file.ReadAt(b, x.from); err != nil && err != io.EOF {
		return "", err
	}
	name = fmt.Sprintf("%s.damaged-%d", s.name, x.from)
	f, err := r.dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return name, r.dir.SyncDir()
}

// rewrite makes the segment anew from its good stretches.
func (r *repair) rewrite(s *segment, stretches []stretch, next int64, sealed bool) error {
	id := newIdentity(s.base, time.Time{})
	id.created = s.created
	w, err := newRewriter(r.dir, id, r.every, temporarySuffix)
	if err != nil {
		return err
	}
	for _, x := range stretches {
		if x.reason != "" {
			continue
		}
		if err := w.copy(s, x.from, x.to); err != nil {
			w.abandon()
			return err
		}
	}
	return w.publish(checkpoint{next: next, start: s.saved.start}, sealed)
}

// ensureTail makes a segment to go on with if the last one is sealed: the one
// after it is missing.
func (r *repair) ensureTail(last *segment) error {
	again, err := openSegment(r.dir, last.name, r.every)
	if err != nil {
		return err
	}
	defer again.close()
	if !again.saved.sealed() {
		return nil
	}
	next := again.saved.next
	id := newIdentity(next, time.Time{})
	id.created = r.now
	fresh, err := createSegment(r.dir, id, r.every, 0, 0)
	if err != nil {
		return err
	}
	r.Damages = append(r.Damages, Damage{segmentName(next), 0, 0, next, -1, "segment is missing", ""})
	return fresh.close()
}
