package issue

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each group is one issue, and no two groups are the same.
var groups = [][]string{
	{
		"2026-11-28 19:40:01 ERROR order 4711 of 192.0.2.7:8080 failed after 12.5ms",
		"2026-11-28T19:41:59.123Z ERROR order 12 of 198.51.100.1:99 failed after 7ms",
		"ERROR [2026-11-28 19:40:01] order -3 of 192.0.2.7 failed after 1ms",
	},
	{"2026-11-28 19:40:01 ERROR payment 4711 of 192.0.2.7:8080 failed after 12.5ms"},
	{
		"ERROR x\njava.lang.IllegalStateException: pool 7 is empty\n\tat com.shop.Pool.take(Pool.java:42)\n\tat com.shop.Cart.add(Cart.java:1)",
		"2026-11-28 ERROR request=ab391cc2 GET /y failed\njava.lang.IllegalStateException: pool 9 is empty\n\tat com.shop.Pool.take(Pool.java:45)\n\tat com.shop.Cart.add(Cart.java:3)\n",
	},
	{"ERROR x\njava.lang.IllegalStateException: pool 7 is empty\n\tat com.shop.Pool.give(Pool.java:42)\n\tat com.shop.Cart.add(Cart.java:1)"},
	{"ERROR x\njava.io.IOException: pool 7 is empty\n\tat com.shop.Pool.take(Pool.java:42)\n\tat com.shop.Cart.add(Cart.java:1)"},
	{
		"Traceback (most recent call last):\n  File \"/app/cart.py\", line 7, in total\n    return a / b\nZeroDivisionError: division by zero",
		"Traceback (most recent call last):\n  File \"/app/cart.py\", line 9, in total\n    return a / b\nZeroDivisionError: division by zero",
	},
	{"Traceback (most recent call last):\n  File \"/app/cart.py\", line 7, in total\n    return a / b\nValueError: division by zero"},
	{
		"panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.pick(0x1, 0x2)\n\t/app/main.go:12 +0x1d\nmain.main()\n\t/app/main.go:7 +0x2c",
		"panic: runtime error: index out of range [6] with length 4\n\ngoroutine 77 [running]:\nmain.pick(0xc000, 0x9)\n\t/app/main.go:19 +0x3d\nmain.main()\n\t/app/main.go:8 +0x2c",
	},
	{
		`{"level":"error","msg":"user 7f3b9c2e-1111-4222-8333-444455556666 unknown","time":"2026-11-28T19:40:01Z","id":5}`,
		`{"level":"error","msg":"user 00000000-1111-4222-8333-444455556666 unknown","time":"2026-11-28T19:40:07Z","id":9}`,
	},
	{"TypeError: x is not a function\n    at pick (/app/a.js:10:7)\n    at async run (/app/b.js:2:1)", "TypeError: x is not a function\n    at pick (/app/a.js:11:8)\n    at async run (/app/b.js:2:1)"},
	{"request ab391cc2 failed in a facade", "request 7391ccab failed in a facade", "request 00000001a failed in a facade"},
	{"mail to a.b@example.com bounced", "mail to carl@example.org bounced"},
	{"2026-11-28 21:27:04.925 +00:00 FATAL could not extend file", "could not extend file"},
	{""},
}

func TestFingerprints(t *testing.T) {
	seen := map[string]string{}
	for _, group := range groups {
		want := Fingerprint(group[0])
		require.Len(t, want, 16)
		for _, line := range group {
			require.Equal(t, want, Fingerprint(line), "%s\n%s", line, essence(line))
		}
		if other, taken := seen[want]; taken {
			t.Errorf("%q and %q are taken for the same: %s", other, group[0], essence(group[0]))
		}
		seen[want] = group[0]
	}
}

func TestTitle(t *testing.T) {
	require.Equal(t, "order <n> of <addr> failed after <n>ms", Title(groups[0][0]))
	require.Equal(t, "java.lang.IllegalStateException: pool <n> is empty", Title(groups[2][0]))
	require.Equal(t, "mail to <mail> bounced", Title(groups[11][0]))
	require.LessOrEqual(t, len(Title(strings.Repeat("ä", 1000))), 160)
}

func FuzzFingerprint(f *testing.F) {
	for _, group := range groups {
		f.Add(group[0])
	}
	f.Fuzz(func(t *testing.T, line string) {
		print := Fingerprint(line)
		if again := Fingerprint(line); again != print || strings.Contains(Title(line), "\n") {
			t.Fatal(line)
		}
	})
}
