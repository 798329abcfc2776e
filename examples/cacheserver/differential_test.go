package cacheserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// conversation is sent to redis-server and to ours, a command a line, and each
// reply must be the same. Times that pass between the two are left out.
const conversation = `
SET a 1
GET a
SET a
SET a 1 EX
SET a 1 EX 0
SET a 1 EX -1
SET a 1 EX x
SET a 1 PX 10 EX 10
SET a 1 NX XX
SET a 1 KEEPTTL EX 10
SET a 2 XX
SET b 2 XX
SET b 2 NX
SET b 3 NX
SET b 4 GET
SET b 5 XX GET
SET zz 5 XX GET
SET a 1 BAD
SET a 1 EX 9223372036854775807
SET a 1 PX 9223372036854775807
SETNX a 1
SETNX c 1
SETEX c 0 1
SETEX c x 1
SETEX c 100 1
PSETEX c -1 1
GETSET a 9
GETSET new 9
GETDEL new
GETDEL new
GETEX a EX 100
GETEX a PERSIST
GETEX a EX 0
GETEX a BAD
GETEX a EX
TTL a
TTL none
PTTL none
PERSIST a
PERSIST c
PERSIST none
EXPIRE a 100 NX
EXPIRE a 100 NX
EXPIRE a 50 GT
EXPIRE a 500 GT
EXPIRE a 50 LT
EXPIRE a 50 NX GT
EXPIRE a 50 GT LT
EXPIRE a 50 BAD
EXPIRE a x
EXPIRE a 9223372036854775807
EXPIRE none 10
EXPIREAT a 1
EXISTS a
SET n 10
INCR n
DECR n
INCRBY n 5
INCRBY n x
INCRBY n 1.5
DECRBY n 20
DECRBY n -9223372036854775808
SET big 9223372036854775807
INCR big
SET text abc
INCR text
INCRBYFLOAT text 1
INCRBYFLOAT n 0.1
INCRBYFLOAT n x
SET f 10.50
INCRBYFLOAT f 0.1
INCRBYFLOAT f -5
INCR f
SET spaced " 1"
INCR spaced
SET zero 01
INCR zero
SET plus +1
INCR plus
APPEND text def
APPEND fresh x
STRLEN text
STRLEN none
GETRANGE text 0 2
GETRANGE text -3 -1
GETRANGE text 5 1
GETRANGE text -100 100
GETRANGE text -1 -3
GETRANGE text x 1
GETRANGE none 0 -1
SUBSTR text 0 1
SETRANGE text 2 ZZ
SETRANGE pad 3 x
SETRANGE pad -1 x
SETRANGE none2 0 ""
EXISTS none2
GET pad
MSET k1 v1 k2 v2
MSET k1
MSET k1 v1 k2
MGET k1 k2 k3
MGET
MSETNX k1 x k9 y
MSETNX k8 x k9 y
MGET k8 k9
DEL k1 k2 k1 none
UNLINK k8 k9
EXISTS text text none
TOUCH text none
TYPE text
TYPE none
PING
PING hello
PING a b
ECHO hi
ECHO
SELECT 0
SELECT 99
SELECT x
DBSIZE x
KEYS te?t
KEYS [t]ex*
KEYS \text
KEYS [^a-s]ext
SCAN 0 COUNT 1000 MATCH tex*
SCAN x
SCAN 0 COUNT
SCAN 0 COUNT 0
SCAN 0 COUNT x
SCAN 0 BAD 1
OBJECT ENCODING none
OBJECT ENCODING n
OBJECT REFCOUNT
CONFIG
CONFIG GET
CONFIG GET nosuch
CONFIG SET nosuch
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME "a b"
CLIENT SETNAME
CLIENT NO-EVICT on
CLIENT NO-EVICT maybe
AUTH x
AUTH x y z
AUTH nobody x
HELLO 9
HELLO x
HELLO 2 BAD
nosuch
nosuch a b c
get
GET a b
FLUSHALL BAD
FLUSHALL
DBSIZE
HELLO 3 BAD
QUIT
`

// talk sends the conversation and returns each reply.
func talk(t *testing.T, addr string, lines []string) []string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	var replies []string
	for _, line := range lines {
		_, err := fmt.Fprintf(conn, "%s\r\n", line)
		require.NoError(t, err)
		reply, err := raw(in)
		require.NoError(t, err, line)
		replies = append(replies, reply)
	}
	return replies
}

// raw reads one reply as it is on the wire.
func raw(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return line, err
	}
	n := 0
	fmt.Sscanf(line[1:], "%d", &n)
	switch line[0] {
	case '$', '=':
		if n < 0 {
			return line, nil
		}
		body := make([]byte, n+2)
		_, err := io.ReadFull(in, body)
		return line + string(body), err
	case '*', '%':
		if line[0] == '%' {
			n *= 2
		}
		for range n {
			item, err := raw(in)
			if err != nil {
				return line, err
			}
			line += item
		}
	}
	return line, nil
}

func TestRepliesAreThoseOfRedis(t *testing.T) {
	theirs := services.Redis(t)
	ours := start(t, testConfig(t.TempDir()))
	lines := strings.Split(strings.TrimSpace(conversation), "\n")
	want := talk(t, theirs.Addr, lines)
	got := talk(t, ours.Addr(), lines)
	for i, line := range lines {
		if got[i] != want[i] {
			t.Errorf("%s\n ours  %q\n redis %q", line, got[i], want[i])
		}
	}
}
