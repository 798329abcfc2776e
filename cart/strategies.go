package cart

// MoreItems returns the one of two carts that has more items, and the first if
// they have as many: what to do with copies that nobody can merge, where it is
// better to show something removed than to lose something wanted. See
// [Cart.Merge] for the better way.
func MoreItems(a, b *Cart) *Cart {
	if b.Items() > a.Items() {
		return b
	}
	return a
}

// What to do with the cart of a guest who turns out to have an account with a
// cart of its own. These are two carts, not two copies of one. Each returns the
// error of the first line that cannot be changed, and leaves account as it was.

// GuestSum adds what the guest has.
func GuestSum(account, guest *Cart) error {
	return account.combine(guest, func(mine, theirs int) int { return mine + theirs })
}

// GuestMax takes the greater quantity of each line.
func GuestMax(account, guest *Cart) error {
	return account.combine(guest, func(mine, theirs int) int { return max(mine, theirs) })
}

// GuestReplace makes the account's cart like that of the guest.
func GuestReplace(account, guest *Cart) error {
	return account.combine(guest, func(_, theirs int) int { return theirs })
}

// GuestKeep takes the account's cart, and that of the guest only if the other is
// empty.
func GuestKeep(account, guest *Cart) error {
	if account.Len() > 0 {
		return nil
	}
	return GuestSum(account, guest)
}

// combine changes each line of either cart to what quantity makes of both.
func (c *Cart) combine(guest *Cart, quantity func(mine, theirs int) int) error {
	result := c.clone()
	for item, mine := range c.Lines() {
		key := item.Key()
		to := quantity(mine, guest.Quantity(key))
		if to == mine {
			continue
		}
		if err := result.ChangeQuantity(key, to); err != nil {
			return err
		}
	}
	for item, theirs := range guest.Lines() {
		if c.Quantity(item.Key()) > 0 {
			continue
		}
		if to := quantity(0, theirs); to > 0 {
			if err := result.Add(*item, to); err != nil {
				return err
			}
		}
	}
	for _, code := range guest.Coupons() {
		_ = result.ApplyCoupon(code) // the account may be priced by other rules
	}
	*c = *result
	return nil
}
