package occ_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/occ"
)

// FuzzHolds compares with lists that are searched from end to end, and with
// what a log gives back.
func FuzzHolds(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("hold some, wait, extend, confirm, release and revoke"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := program(data)
		clock := &clock{epoch}
		log := new(memoryLog[int, occ.Claim[int]])
		opts := &occ.HoldOptions{TTL: 10, MaxPerOwner: 4, Now: clock.Now}
		h, err := occ.OpenHolds(t.Context(), log, opts)
		if err != nil {
			t.Fatal(err)
		}
		type hold = occ.Hold[int, int]
		var model []hold
		tokens := []occ.Token{0}
		var now time.Time
		find := func(token occ.Token) *hold {
			for i := range model {
				if model[i].Token == token {
					return &model[i]
				}
			}
			return nil
		}
		for len(p) > 0 {
			if clock.now = clock.now.Add(time.Duration(p.next(8) - 2)); clock.now.After(now) {
				now = clock.now
			}
			model = slices.DeleteFunc(model, func(one hold) bool { return !one.Confirmed() && !now.Before(one.Until) })
			held, owned := map[int]bool{}, map[int]int{}
			for _, one := range model {
				for _, r := range one.Resources {
					held[r] = true
					owned[one.Owner]++
				}
			}
			token := tokens[p.next(len(tokens))]
			one := find(token)
			var got, want error
			switch p.next(7) {
			case 0, 1:
				owner, resources, distinct := p.next(3), []int{}, map[int]bool{}
				for range 1 + p.next(4) {
					r := p.next(8)
					resources = append(resources, r)
					distinct[r] = true
				}
				for r := range distinct {
					if held[r] {
						want = occ.ErrTaken
					}
				}
				if want == nil && owned[owner]+len(distinct) > 4 {
					want = occ.ErrLimit
				}
				var made hold
				if made, got = h.Hold(t.Context(), owner, resources...); got == nil {
					if made.Owner != owner || !made.Until.Equal(now.Add(10)) || made.Token <= tokens[len(tokens)-1] ||
						!maps.Equal(distinct, maps.Collect(func(yield func(int, bool) bool) {
							for _, r := range made.Resources {
								yield(r, true)
							}
						})) {
						t.Fatalf("Hold(%d, %v) at %v: %+v", owner, resources, now, made)
					}
					model = append(model, made)
					tokens = append(tokens, made.Token)
				}
			case 2:
				got = h.Confirm(t.Context(), token)
				if one == nil {
					want = occ.ErrOver
				} else {
					one.Until = time.Time{}
				}
			case 3:
				ttl := time.Duration(p.next(20))
				_, got = h.Extend(t.Context(), token, ttl)
				if ttl == 0 {
					ttl = 10
				}
				switch {
				case one == nil:
					want = occ.ErrOver
				case one.Confirmed():
					want = occ.ErrConfirmed
				case now.Add(ttl).After(one.Until):
					one.Until = now.Add(ttl)
				}
			case 4, 5:
				revoke := p.next(2) == 1
				if revoke {
					got = h.Revoke(t.Context(), token)
				} else {
					got = h.Release(t.Context(), token)
				}
				switch {
				case one == nil:
					want = occ.ErrOver
				case one.Confirmed() && !revoke:
					want = occ.ErrConfirmed
				default:
					model = slices.DeleteFunc(model, func(one hold) bool { return one.Token == token })
				}
			case 6:
				if h, err = occ.OpenHolds(t.Context(), log, opts); err != nil {
					t.Fatal(err)
				}
				if clock.now.Before(now) { // the new one does not know better
					clock.now = now
				}
			}
			if !errors.Is(got, want) || want == nil && got != nil {
				t.Fatalf("%v, want %v", got, want)
			}
			if err := h.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
			all := slices.Collect(h.All())
			if !slices.EqualFunc(all, model, func(a, b hold) bool {
				return a.Token == b.Token && a.Owner == b.Owner && a.Until.Equal(b.Until) && slices.Equal(a.Resources, b.Resources)
			}) {
				t.Fatalf("%+v, want %+v", all, model)
			}
		}
	})
}
