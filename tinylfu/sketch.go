package tinylfu

// A sketch estimates how often a key was used lately: a count-min sketch of
// 4-bit counters in blocks of a cache line, one counter in each quarter of
// the block that the key's hash chooses:
//
//	block   word 0 1 | word 2 3 | word 4 5 | word 6 7     16 counters a word
//	key        ^        ^               ^      ^          the least of four
//
// An estimate is never below the true count since the last halving, up to
// 15. All counters are halved after sampleFactor uses for each entry of the
// cache, so that old fame fades.
type sketch struct {
	words  []uint64
	added  int
	period int
}

const (
	wordsPerBlock = 8
	maxCount      = 15
	sampleFactor  = 20
	halfOfEach    = 0x7777777777777777
)

// newSketch returns a sketch for a cache of that many entries: one word an
// entry.
func newSketch(entries int) sketch {
	blocks := (entries + wordsPerBlock - 1) / wordsPerBlock
	return sketch{words: make([]uint64, blocks*wordsPerBlock), period: sampleFactor * entries}
}

// locate returns the block of a key and the bits that choose its counters.
func (s *sketch) locate(hash uint32) (block []uint64, bits uint32) {
	x := uint64(hash) * 0x9e3779b97f4a7c15
	blocks := uint64(len(s.words) / wordsPerBlock)
	at := (x >> 32 * blocks >> 32) * wordsPerBlock
	return s.words[at : at+wordsPerBlock : at+wordsPerBlock], uint32(x >> 8)
}

// estimate returns how often the key was used, up to 15.
func (s *sketch) estimate(hash uint32) int {
	block, bits := s.locate(hash)
	least := uint64(maxCount)
	for quarter := range uint32(4) {
		b := bits >> (quarter * 5)
		least = min(least, block[(quarter*2+b&1)&7]>>(b>>1&15*4)&15)
	}
	return int(least)
}

// add counts a use.
func (s *sketch) add(hash uint32) {
	block, bits := s.locate(hash)
	counted := false
	for quarter := range uint32(4) {
		b := bits >> (quarter * 5)
		word, shift := &block[(quarter*2+b&1)&7], b>>1&15*4
		if *word>>shift&15 != maxCount {
			*word += 1 << shift
			counted = true
		}
	}
	if counted {
		if s.added++; s.added >= s.period {
			s.halve()
		}
	}
}

func (s *sketch) halve() {
	for i, word := range s.words {
		s.words[i] = word >> 1 & halfOfEach
	}
	s.added /= 2
}

func (s *sketch) clear() {
	clear(s.words)
	s.added = 0
}

// double makes the sketch twice as large. A key's block is its hash scaled to
// the number of blocks, so the two halves of a block's range begin with what
// the block knew.
func (s *sketch) double() {
	words := make([]uint64, 0, 2*len(s.words))
	for at := 0; at < len(s.words); at += wordsPerBlock {
		block := s.words[at : at+wordsPerBlock]
		words = append(append(words, block...), block...)
	}
	s.words = words
	s.added *= 2
	s.period *= 2
}
