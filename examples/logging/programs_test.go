package logging

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/services"
)

// nginx writes its access log, is asked to rotate it in the middle, as
// logrotate does, and every request is found, by field.
func TestNginx(t *testing.T) {
	nginx := services.Find(t, "nginx", "/usr/sbin/nginx")
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755)) // its workers run as somebody else
	port := services.FreePort(t)
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http {
	access_log %[1]s/access.log combined;
	client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
	server { listen 127.0.0.1:%[2]d; location /fails { return 503; } location / { return 200 "hello"; } }
}`, dir, port), 0o600))
	c := config(t.TempDir())
	c.Files = filepath.Join(dir, "*.log")
	s, _ := serve(t, c)
	server := services.Start(t, fmt.Sprintf("127.0.0.1:%d", port), nginx, "-p", dir, "-c", conf)
	client := &http.Client{}
	for i := range 300 {
		path := "/item"
		if i%10 == 0 {
			path = "/fails"
		}
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s?n=%d", port, path, i))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		if i%100 == 50 {
			for n := 3; n > 0; n-- {
				_ = os.Rename(fmt.Sprintf("%s/access.log.%d", dir, n), fmt.Sprintf("%s/access.log.%d", dir, n+1)) // it need not be there
			}
			require.NoError(t, os.Rename(dir+"/access.log", dir+"/access.log.1"))
			require.NoError(t, syscall.Kill(server.PID, syscall.SIGUSR1))
		}
	}
	client.CloseIdleConnections()
	eventually(t, "all requests are found", func() bool { return len(found(t, s, "app=access method=GET path~\"^/(item|fails)\"")) >= 300 })
	require.Len(t, found(t, s, "app=access method=GET path~\"^/(item|fails)\""), 300, "none came twice")
	require.Len(t, found(t, s, "status>=500 level=error path=/fails*"), 30)
	require.Len(t, found(t, s, `"GET /item?n=7"`), 1)
}

// rsyslog forwards what it gets, over TCP with octet counting in the format of
// RFC 5424, and over UDP in the old one.
func TestRsyslog(t *testing.T) {
	rsyslogd := services.Find(t, "rsyslogd", "/usr/sbin/rsyslogd")
	s, _ := serve(t, config(t.TempDir()))
	_, port, err := net.SplitHostPort(s.SyslogAddr())
	require.NoError(t, err)
	in := services.FreePort(t)
	dir := t.TempDir()
	conf := filepath.Join(dir, "rsyslog.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `
global(workDirectory="%[1]s")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="%[2]d")
if $programname == "overtcp" then action(type="omfwd" target="127.0.0.1" port="%[3]s" protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format")
if $programname == "overudp" then action(type="omfwd" target="127.0.0.1" port="%[3]s" protocol="udp")
`, dir, in, port), 0o600))
	services.Start(t, fmt.Sprintf("127.0.0.1:%d", in), rsyslogd, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", in))
	require.NoError(t, err)
	defer conn.Close()
	for i := range 100 {
		_, err := fmt.Fprintf(conn, "<11>Nov 28 20:00:00 web-7 overtcp: message %d\n<12>Nov 28 20:00:00 web-7 overudp: message %d\n", i, i)
		require.NoError(t, err)
	}
	eventually(t, "what went over TCP is found", func() bool { return len(found(t, s, "app=overtcp host=web-7 level=error message")) == 100 })
	eventually(t, "and what went over UDP", func() bool { return len(found(t, s, "app=overudp host=web-7 level=warn message")) == 100 })
}

// logger of util-linux, in every way that it can send.
func TestLogger(t *testing.T) {
	logger := services.Find(t, "logger")
	s, _ := serve(t, config(t.TempDir()))
	host, port, err := net.SplitHostPort(s.SyslogAddr())
	require.NoError(t, err)
	ways := [][]string{
		{"-T", "--rfc5424"}, {"-T", "--rfc5424", "--octet-count"}, {"-T", "--rfc3164"}, {"-T", "--rfc3164", "--octet-count"}, {"-d", "--rfc5424"}, {"-d", "--rfc3164"},
		{"-T", "--rfc5424", "--sd-id", "zoo@123", "--sd-param", `tiger="hungry"`, "--msgid", "M1"},
	}
	for i, way := range ways {
		args := append(append([]string{}, way...), "-n", host, "-P", port, "-t", "tester", "-p", "user.crit", fmt.Sprintf("way number%d: Disk Full", i))
		out, err := exec.CommandContext(t.Context(), logger, args...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	for i, way := range ways {
		want := fmt.Sprintf("way number%d: Disk Full", i)
		eventually(t, strings.Join(way, " ")+" is found", func() bool {
			lines := found(t, s, fmt.Sprintf("app=tester level=fatal facility=user number%d", i))
			return len(lines) == 1 && lines[0] == want
		})
	}
	require.Len(t, found(t, s, `zoo@123.tiger=hungry msgid=M1`), 1)
	eventually(t, "the rule has fired", func() bool { return s.alerts.firing() > 0 })
	for _, src := range s.intake.Sources() {
		require.Empty(t, src.Dropped, "%+v", src)
	}
}
