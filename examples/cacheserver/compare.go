package cacheserver

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ashlar-go/ashlar/internal/trace"
)

// compare runs redis-server and this server, with each policy, under the same
// redis-benchmark and the same trace, and prints a table.
func compare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(stderr)
	requests := f.Int("n", 200_000, "requests of each benchmark")
	path := f.String("trace", "", "trace `file` to replay; none means a generated one")
	limit := f.Int("accesses", 300_000, "most accesses of the trace to replay")
	memory := f.String("max-bytes", "4mb", "bound of every server")
	if err := f.Parse(args); err != nil {
		return err
	}
	redisServer, err := exec.LookPath("redis-server")
	if err != nil {
		return errors.New("compare needs redis-server (Debian: apt-get install redis-server)")
	}
	benchmark, err := exec.LookPath("redis-benchmark")
	if err != nil {
		return errors.New("compare needs redis-benchmark (Debian: apt-get install redis-tools)")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	t := trace.Mixed(1, *limit)
	if *path != "" {
		if t, err = trace.ReadFile(*path); err != nil {
			return err
		}
	}
	keys := t.Keys[:min(len(t.Keys), *limit)]
	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	type contender struct {
		name string
		argv func(port string) []string
	}
	var contenders []contender
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu"} {
		contenders = append(contenders, contender{"redis " + policy, func(port string) []string {
			return []string{redisServer, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir, "--maxmemory", *memory, "--maxmemory-policy", policy}
		}})
	}
	for _, policy := range policies {
		contenders = append(contenders, contender{"ashlar " + policy, func(port string) []string {
			return []string{self, "cacheserver", "-addr", "127.0.0.1:0", "-redis", "127.0.0.1:" + port, "-data", filepath.Join(dir, policy), "-memory", "-policy", policy, "-max-bytes", *memory}
		}})
	}
	fmt.Fprintf(stdout, "redis-benchmark -n %d -c 50 -d 100 -r 100000; trace %s, %d accesses, GET and after a miss SET of 300 bytes; bound %s\n\n", *requests, t.Name, len(keys), *memory)
	fmt.Fprintf(stdout, "%-18s %11s %11s %11s %11s %9s %9s %7s %9s %11s\n", "server", "GET/s", "SET/s", "GET/s P16", "SET/s P16", "GET p50", "GET p99", "hits", "RSS", "CPU s/1M")
	for _, c := range contenders {
		if err := compareOne(ctx, stdout, benchmark, c.name, c.argv, *requests, keys); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func compareOne(ctx context.Context, stdout io.Writer, benchmark, name string, argv func(port string) []string, requests int, keys []uint64) error {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := free.Addr().String()
	_, port := split(addr)
	free.Close()
	a := argv(port)
	server := exec.CommandContext(ctx, a[0], a[1:]...)
	server.Cancel = func() error { return server.Process.Signal(os.Interrupt) }
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		server.Process.Signal(os.Interrupt)
		server.Wait()
	}()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	for try := 0; client.Ping(ctx).Err() != nil; try++ {
		if try == 100 || ctx.Err() != nil {
			return errors.New("it does not answer")
		}
		time.Sleep(50 * time.Millisecond)
	}
	hits, err := replayTrace(ctx, client, keys)
	if err != nil {
		return err
	}
	before := cpuSeconds(server.Process.Pid)
	plain, err := bench(ctx, benchmark, port, requests, 1)
	if err != nil {
		return err
	}
	piped, err := bench(ctx, benchmark, port, requests, 16)
	if err != nil {
		return err
	}
	cpu := (cpuSeconds(server.Process.Pid) - before) / (4 * float64(requests)) * 1e6
	_, err = fmt.Fprintf(stdout, "%-18s %11.0f %11.0f %11.0f %11.0f %7.2fms %7.2fms %6.2f%% %6d MB %11.2f\n", name,
		plain["GET"].rate, plain["SET"].rate, piped["GET"].rate, piped["SET"].rate, plain["GET"].p50, plain["GET"].p99, 100*hits, residentMB(server.Process.Pid), cpu)
	return err
}

// replayTrace reads through the cache: a GET, and after a miss a SET. It
// pipelines in batches, so a key asked for twice in one batch may miss twice,
// with every server alike.
func replayTrace(ctx context.Context, c *redis.Client, keys []uint64) (hits float64, err error) {
	const batch = 32
	payload := strings.Repeat("v", 300)
	n := 0
	for at := 0; at < len(keys); at += batch {
		part := keys[at:min(at+batch, len(keys))]
		gets := make([]*redis.StringCmd, len(part))
		if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, key := range part {
				gets[i] = p.Get(ctx, strconv.FormatUint(key, 36))
			}
			return nil
		}); err != nil && !errors.Is(err, redis.Nil) {
			return 0, err
		}
		if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, get := range gets {
				if get.Err() == nil {
					n++
				} else {
					p.Set(ctx, strconv.FormatUint(part[i], 36), payload, 0)
				}
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return float64(n) / float64(len(keys)), nil
}

type benchResult struct{ rate, p50, p99 float64 }

// bench runs redis-benchmark and reads its CSV.
func bench(ctx context.Context, program, port string, requests, pipeline int) (map[string]benchResult, error) {
	out, err := exec.CommandContext(ctx, program, "-p", port, "-t", "set,get", "-n", strconv.Itoa(requests), "-c", "50", "-d", "100", "-r", "100000", "-P", strconv.Itoa(pipeline), "--csv").Output()
	if err != nil {
		return nil, fmt.Errorf("redis-benchmark: %w", err)
	}
	results := map[string]benchResult{}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		// "test","rps","avg","min","p50","p95","p99","max"
		cells := strings.Split(strings.ReplaceAll(lines.Text(), `"`, ""), ",")
		if len(cells) < 8 {
			continue
		}
		var r benchResult
		if r.rate, err = strconv.ParseFloat(cells[1], 64); err != nil {
			continue // the header
		}
		r.p50, _ = strconv.ParseFloat(cells[4], 64)
		r.p99, _ = strconv.ParseFloat(cells[6], 64)
		results[cells[0]] = r
	}
	if len(results) < 2 {
		return nil, fmt.Errorf("redis-benchmark printed no results: %.200q", out)
	}
	return results, nil
}

// cpuSeconds and residentMB read /proc; elsewhere they are 0.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func residentMB(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb := 0
	fmt.Sscan(rest, &kb)
	return kb >> 10
}
