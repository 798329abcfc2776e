// Package query is the language in which one asks for log entries.
//
//	disk full                both words, anywhere, in any case
//	"disk full"              the two words one behind the other, as written
//	timeout*  *time*         words that begin with, or contain
//	/GET \/cart\?id=\d+/     a regular expression (RE2), case matters
//	app=nginx                a label or field has the value; host=web-* with wildcards
//	status>=500              a number of a field; also <, <=, >, !=
//	msg~"time(d )?out"       a regular expression on a field; !~ for none
//	level>=warn              the level: trace, debug, info, warn, error, fatal
//	a or b, (a b) or c       and binds more tightly than or; a space is an and
//	not a, -a, !a            entries without
//
// Names are those of labels, of fields that came beside the line, and of what
// package parse reads in the line, in this order. Names that always exist are
// level, line, and issue, which is the fingerprint of an exception. A comparison
// with a name that an entry does not have is false, and its negation true.
//
// A word is a run of letters and digits; a query that is empty matches
// everything.
//
// # Filters
//
// A query tells what it needs, so that whole blocks of entries need not be
// read: [Query.MayMatchStream] from the labels of a stream, and
// [Query.MayMatchTokens] from a set of the tokens in a block. Both may say yes
// where there is nothing, and never say no where there is something.
package query
