package kafka

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/system"
)

// kgoCannotPass are tests of franz-go's client that no broker can pass from
// here.
var kgoCannotPass = []string{
	"TestOptValuesCoversEveryOption", // reads a source file beside the test
}

// kgoSkips are tests of what this broker does not have: transactions and share
// groups.
const kgoSkips = "TestTxnEtl|TestShareGroup"

// kgoPasses is how many tests must pass.
const kgoPasses = 141

// franz-go's own tests of its client pass against three of these brokers.
//
//	ASHLAR_LONG=1 go test -run TestFranzGoSuite -timeout 30m ./kafka
func TestFranzGoSuite(t *testing.T) {
	if os.Getenv("ASHLAR_LONG") == "" {
		t.Skip("builds and runs the tests of franz-go's client for minutes; ASHLAR_LONG=1 does")
	}
	binary := filepath.Join(t.TempDir(), "kgo.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "github.com/twmb/franz-go/pkg/kgo").CombinedOutput()
	require.NoError(t, err, "%s", out)

	s := startSystem(t, func(c *Config) { c.Brokers = 3 })
	suite := exec.CommandContext(t.Context(), binary, "-test.v", "-test.skip", kgoSkips, "-test.timeout", "25m")
	suite.Env = append(os.Environ(), "KGO_SEEDS="+strings.Join(s.Addrs(), ","), "KGO_TEST_RF=3", "KGO_TEST_RECORDS=3000", "KGO_LOG_LEVEL=none")
	suite.Dir = t.TempDir()
	var said bytes.Buffer
	suite.Stdout, suite.Stderr = &said, &said
	_ = suite.Run() // the tests that cannot pass make it fail
	passed := 0
	for _, match := range regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`).FindAllStringSubmatch(said.String(), -1) {
		switch {
		case match[1] == "PASS":
			passed++
		case match[1] == "FAIL" && !slices.Contains(kgoCannotPass, match[2]):
			t.Errorf("%s fails", match[2])
		}
	}
	if passed < kgoPasses || t.Failed() {
		t.Errorf("%d tests pass, want %d\n%s", passed, kgoPasses, said.String()[max(0, said.Len()-20_000):])
	}
	t.Logf("%d tests pass", passed)
}

// startSystem starts a system as the launcher would.
func startSystem(t *testing.T, change ...func(*Config)) *System {
	t.Helper()
	config := Config{
		Env: system.Discard(t.TempDir()), Addr: "127.0.0.1:0", Brokers: 1, Sync: string(syncEach), Partitions: 3, Replicas: 3, Create: true,
		MaxConns: defaultLimits.conns, MaxRequest: defaultLimits.request, MaxMemory: int(defaultLimits.inFlight), Idle: defaultLimits.idle, Retain: defaultLimits.idle,
	}
	for _, f := range change {
		f(&config)
	}
	s, err := New(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
