package kafka

import "context"

// A controller keeps the brokers of a cluster of one mind. Implementations are
// safe for concurrent use by multiple goroutines.
type controller interface {
	// Image returns what this broker knows to be agreed.
	Image() *image

	// Changed returns a channel that is closed when there is an image after
	// the one that Image returned before or returns now.
	Changed() <-chan struct{}

	// Propose applies a command to the cluster and returns once this broker
	// has applied it too. An error means that nobody knows whether it was or
	// will be applied.
	Propose(ctx context.Context, c command) (result, error)

	// Leader returns the broker that orders the commands at present, or -1.
	Leader() int32

	// Close stops taking part.
	Close() error
}
