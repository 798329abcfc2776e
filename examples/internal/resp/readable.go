package resp

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// readable turns a reply into what redis-cli would print.
func readable(in *bufio.Reader) string {
	line, err := in.ReadString('\n')
	line = strings.TrimRight(line, "\r\n")
	if err != nil || line == "" {
		return ""
	}
	n := 0
	fmt.Sscanf(line[1:], "%d", &n)
	switch line[0] {
	case '+':
		return line[1:]
	case '-':
		return "(error) " + line[1:]
	case ':':
		return "(integer) " + line[1:]
	case '$':
		if n < 0 {
			return "(nil)"
		}
		b := make([]byte, n+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return ""
		}
		text := string(b[:n])
		if strings.Contains(text, "\r\n") {
			return strings.ReplaceAll(text, "\r\n", "\n")
		}
		return fmt.Sprintf("%q", text)
	}
	if n <= 0 {
		return "(empty array)"
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d) %s\n", i+1, strings.ReplaceAll(readable(in), "\n", "\n   "))
		if b.Len() > 16<<10 {
			b.WriteString("…")
			break
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
