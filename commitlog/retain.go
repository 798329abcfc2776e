package commitlog

import (
	"context"
	"time"
)

// Retain begins a new segment if the present one is older than
// Options.SegmentAge or its records are older than Options.RetainAge, and
// removes the segments at the beginning that RetainAge and RetainBytes give up
// and RetainFrom does not keep. For the errors see DeleteBefore. It looks at ctx
// before it begins.
func (l *Log) Retain(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	l.restructure()
	defer l.restructured()
	if err := l.Err(); err != nil {
		return err
	}
	if o := l.live.Load(); l.stale(l.now, o) {
		if err := l.rollLocked(0, true); err != nil {
			return err
		}
	}
	return l.retainLocked()
}

// stale reports whether the segment that is written should be closed.
func (l *Log) stale(now time.Time, o *Options) bool {
	s := l.app.segment // only changed with the structure locked
	return o.SegmentAge > 0 && s.age(now) >= o.SegmentAge ||
		o.RetainAge > 0 && s.latestMillis() < millis(now.Add(-o.RetainAge))
}

func (l *Log) retainLocked() error {
	o := l.live.Load()
	l.mu.RLock()
	segments := l.segments
	l.mu.RUnlock()
	total := int64(0)
	for _, s := range segments {
		total += s.size()
	}
	oldest := int64(minMillis)
	if o.RetainAge > 0 {
		oldest = millis(l.now.Add(-o.RetainAge))
	}
	keep := segments[0]
	for i, s := range segments[:len(segments)-1] {
		tooOld := o.RetainAge > 0 && s.latestMillis() < oldest
		tooMany := o.RetainBytes > 0 && total-s.size() >= o.RetainBytes
		if !tooOld && !tooMany || segments[i+1].base > l.retainFrom {
			break
		}
		total -= s.size()
		keep = segments[i+1]
	}
	return l.deleteLocked(keep.base)
}
