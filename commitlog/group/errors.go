package group

import (
	"errors"
	"fmt"
)

// What a group answers instead of a result. Each corresponds to one error code
// of Kafka's protocol, named in brackets.
var (
	// ErrUnknownMember: the member is not, or no longer, in the group; it has
	// to join as a new one. (UNKNOWN_MEMBER_ID)
	ErrUnknownMember = errors.New("group: unknown member")
	// ErrIllegalGeneration: the request belongs to another generation; the
	// member has to join again. (ILLEGAL_GENERATION)
	ErrIllegalGeneration = errors.New("group: illegal generation")
	// ErrFencedInstance: another process has joined with the same instance id;
	// this one has to stop. (FENCED_INSTANCE_ID)
	ErrFencedInstance = errors.New("group: fenced instance id")
	// ErrRebalanceInProgress: the member has to join again. (REBALANCE_IN_PROGRESS)
	ErrRebalanceInProgress = errors.New("group: rebalance in progress")
	// ErrMemberIDRequired: the member has to join again with the member id
	// that comes with this error. (MEMBER_ID_REQUIRED)
	ErrMemberIDRequired = errors.New("group: member id required")
	// ErrInconsistentProtocol: the member shares no protocol with the others,
	// or is of another type. (INCONSISTENT_GROUP_PROTOCOL)
	ErrInconsistentProtocol = errors.New("group: inconsistent protocol")
	// ErrInvalidSessionTimeout: the session timeout is outside the limits of
	// [Options]. (INVALID_SESSION_TIMEOUT)
	ErrInvalidSessionTimeout = errors.New("group: invalid session timeout")
	// ErrGroupFull: the group has Options.MaxMembers members.
	// (GROUP_MAX_SIZE_REACHED)
	ErrGroupFull = errors.New("group: group is full")
	// ErrDead: the group was deleted or is kept elsewhere; find its
	// coordinator again. (COORDINATOR_NOT_AVAILABLE)
	ErrDead = errors.New("group: group is dead")
	// ErrNotEmpty: what was asked for needs a group without members.
	// (NON_EMPTY_GROUP)
	ErrNotEmpty = errors.New("group: group is not empty")
	// ErrSubscribed: the offsets of a topic that members read cannot be
	// deleted. (GROUP_SUBSCRIBED_TO_TOPIC)
	ErrSubscribed = errors.New("group: members subscribe to the topic")
	// ErrInvalidRequest: a request contradicts itself, for example a join
	// without any protocol. (INVALID_REQUEST)
	ErrInvalidRequest = errors.New("group: invalid request")
)

// ErrMalformed is wrapped by every [MalformedError].
var ErrMalformed = errors.New("group: malformed")

// A MalformedError says what could not be decoded, and where. It wraps
// [ErrMalformed].
type MalformedError struct {
	What   string // "subscription", "assignment", …
	At     int    // position in the input, in bytes
	Reason string
}

// Error names what was malformed, and where.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("group: %s: %s at byte %d", e.What, e.Reason, e.At)
}

// Unwrap returns ErrMalformed.
func (e *MalformedError) Unwrap() error { return ErrMalformed }

// ErrOwned is wrapped by every [OwnedError].
var ErrOwned = errors.New("group: partition is owned")

// An OwnedError says who owns a partition that another member claimed. It
// wraps [ErrOwned].
type OwnedError struct {
	Partition TopicPartition
	Owner     Owner // who has it
	Claimant  Owner // who does not get it
}

// Error names the partition, its owner and who claimed it.
func (e *OwnedError) Error() string {
	return fmt.Sprintf("group: %v is owned by %s in generation %d; claimed by %s in %d",
		e.Partition, e.Owner.Member, e.Owner.Generation, e.Claimant.Member, e.Claimant.Generation)
}

// Unwrap returns ErrOwned.
func (e *OwnedError) Unwrap() error { return ErrOwned }
