package services

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMain lets this test binary be the program that the tests start.
func TestMain(m *testing.M) {
	switch os.Getenv("SERVICES_TEST_PROGRAM") {
	case "server":
		serveUntilKilled()
	case "fails":
		fmt.Println("no such option")
		os.Exit(3)
	default:
		os.Exit(m.Run())
	}
}

func serveUntilKilled() {
	ln, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	for {
		conn, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		_ = conn.Close()
	}
}

func TestStartWaitsUntilTheServerListens(t *testing.T) {
	t.Setenv("SERVICES_TEST_PROGRAM", "server")
	self, err := os.Executable()
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	p := Start(t, addr, self, addr)
	conn, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, "listening\n", p.Output())
	require.DirExists(t, p.Dir)
	require.NotZero(t, p.PID)
	p.Kill()
	_, err = net.Dial("tcp", p.Addr)
	require.Error(t, err)
	require.Error(t, p.Stop(), "stopping twice does no harm")
}

func TestRedis(t *testing.T) {
	p := Redis(t, "--maxmemory", "1mb")
	conn, err := net.Dial("tcp", p.Addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "CONFIG GET maxmemory\r\n")
	require.NoError(t, err)
	lines := bufio.NewScanner(conn)
	var answer []string
	for len(answer) < 5 && lines.Scan() {
		answer = append(answer, lines.Text())
	}
	require.Equal(t, []string{"*2", "$9", "maxmemory", "$7", "1048576"}, answer)
}

// A recorder is a test whose failing is looked at.
type recorder struct {
	testing.TB
	failed, skipped string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(r)
}

func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	panic(r)
}

func record(t *testing.T, f func(testing.TB)) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if v := recover(); v != nil && v != r {
				panic(v)
			}
		}()
		f(r)
	}()
	return r
}

func TestMissingProgramSkipsUnlessRequired(t *testing.T) {
	find := func(tb testing.TB) { Find(tb, "no-such-program", "nor-this") }
	t.Setenv("ASHLAR_REQUIRE_SERVICES", "")
	require.Equal(t, "skipped: no no-such-program or nor-this is installed", record(t, find).skipped)
	t.Setenv("ASHLAR_REQUIRE_SERVICES", "1")
	require.Equal(t, "ASHLAR_REQUIRE_SERVICES=1, but no no-such-program or nor-this is installed", record(t, find).failed)
}

func TestProgramThatEndsAtOnceIsAFailureWithItsWords(t *testing.T) {
	t.Setenv("SERVICES_TEST_PROGRAM", "fails")
	self, err := os.Executable()
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	failed := record(t, func(tb testing.TB) { Start(tb, addr, self) }).failed
	require.Contains(t, failed, "exit status 3")
	require.Contains(t, failed, "no such option")
}
