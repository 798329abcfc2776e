package kvstore

// A cursor walks through a frozen tree in either direction.
type cursor struct {
	path []step
	leaf *leaf
	at   int
}

// seek goes to the first key that is not below key.
func (c *cursor) seek(root *node, key []byte) {
	c.path = c.path[:0]
	n := root
	for {
		kid := n.route(key)
		c.path = append(c.path, step{n, kid})
		if n.nodes == nil {
			c.leaf = n.leaves[kid]
			break
		}
		n = n.nodes[kid]
	}
	c.at, _ = c.leaf.find(key)
	if c.at == int(c.leaf.n) {
		c.at--
		c.next()
	}
}

// end goes behind the last key.
func (c *cursor) end(root *node) {
	c.path = c.path[:0]
	n := root
	for n.nodes != nil {
		c.path = append(c.path, step{n, len(n.nodes) - 1})
		n = n.nodes[len(n.nodes)-1]
	}
	c.path = append(c.path, step{n, len(n.leaves) - 1})
	c.leaf = n.leaves[len(n.leaves)-1]
	c.at = int(c.leaf.n)
}

// valid reports whether the cursor is at a key.
func (c *cursor) valid() bool { return c.at >= 0 && c.at < int(c.leaf.n) }

// next goes to the next key.
func (c *cursor) next() {
	for c.at++; c.at >= int(c.leaf.n); c.at = 0 {
		if !c.turn(1) {
			c.at = int(c.leaf.n)
			return
		}
	}
}

// prev goes to the key before.
func (c *cursor) prev() {
	for c.at--; c.at < 0; c.at = int(c.leaf.n) - 1 {
		if !c.turn(-1) {
			c.at = -1
			return
		}
	}
}

// turn goes to the next leaf in a direction, if there is one.
func (c *cursor) turn(by int) bool {
	level := len(c.path) - 1
	for ; level >= 0; level-- {
		if kid := c.path[level].kid + by; kid >= 0 && kid < c.path[level].n.kids() {
			c.path[level].kid = kid
			break
		}
	}
	if level < 0 {
		return false
	}
	c.path = c.path[:level+1]
	for n, kid := c.path[level].n, c.path[level].kid; ; {
		if n.nodes == nil {
			c.leaf = n.leaves[kid]
			return true
		}
		n = n.nodes[kid]
		kid = 0
		if by < 0 {
			kid = n.kids() - 1
		}
		c.path = append(c.path, step{n, kid})
	}
}
