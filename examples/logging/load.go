package logging

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// What the simulated servers log. A user's request is a line in an access log
// and one in the log of an application; some fail, with a stack trace, and now
// and then a database runs out of disk.

var paths = []string{"/", "/", "/", "/search?q=shoes", "/item/%d", "/item/%d", "/cart", "/checkout", "/api/stock/%d", "/img/%d.webp"}

var agents = []string{"Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (iPhone)", "curl/8.14.1"}

var failures = []string{
	`java.lang.IllegalStateException: pool of %d connections is empty
	at com.shop.db.Pool.take(Pool.java:142)
	at com.shop.cart.Cart.load(Cart.java:57)
	at com.shop.web.Checkout.post(Checkout.java:31)
`,
	`java.net.SocketTimeoutException: no answer from payment-%d after 3000 ms
	at com.shop.pay.Gateway.call(Gateway.java:88)
	at com.shop.web.Checkout.post(Checkout.java:44)
Caused by: java.io.IOException: Connection reset by peer
	at com.shop.net.Socket.read(Socket.java:210)
	... 12 more
`,
	`java.lang.NullPointerException: price of item %d is missing
	at com.shop.item.Price.of(Price.java:19)
	at com.shop.web.Item.get(Item.java:73)
`,
}

// act is one request of one user.
func (f *fleet) act(_ context.Context, _ int, r *rand.Rand) error {
	servers := f.loaded()
	name := servers[r.IntN(len(servers))]
	now := time.Now()
	if strings.HasPrefix(name, "db-") {
		return f.write(name, "postgres.log", databaseLine(now, r))
	}
	status := 200
	dice := r.IntN(1000)
	switch {
	case dice < 8:
		status = 500 + 2*r.IntN(2)
	case dice < 50:
		status = 404
	case dice < 90:
		status = 302
	}
	path := paths[r.IntN(len(paths))]
	if strings.Contains(path, "%d") {
		path = fmt.Sprintf(path, r.IntN(5000))
	}
	took := 0.002 + r.ExpFloat64()*0.03
	access := fmt.Sprintf("198.51.100.%d - - [%s] \"GET %s HTTP/1.1\" %d %d \"-\" \"%s\" %.3f\n",
		1+r.IntN(250), now.Format("02/Jan/2006:15:04:05 -0700"), path, status, 200+r.IntN(40_000), agents[r.IntN(len(agents))], took)
	if err := f.write(name, "access.log", access); err != nil {
		return err
	}
	return f.write(name, "app.log", applicationLine(now, r, path, status))
}

// loaded are the names of the simulated servers.
func (f *fleet) loaded() []string {
	names := []string{}
	for _, s := range f.list() {
		if s.name != pageServer && s.name != thisMachine {
			names = append(names, s.name)
		}
	}
	return names
}

const stamp = "2006-01-02T15:04:05.000Z07:00"

func applicationLine(now time.Time, r *rand.Rand, path string, status int) string {
	request := fmt.Sprintf("request=%08x", r.Uint32())
	switch {
	case status >= 500:
		return fmt.Sprintf("%s ERROR %s GET %s failed\n", now.Format(stamp), request, path) + fmt.Sprintf(failures[r.IntN(len(failures))], r.IntN(5000))
	case status == 404:
		return fmt.Sprintf("%s WARN %s nothing at %s\n", now.Format(stamp), request, path)
	case r.IntN(4) == 0:
		return fmt.Sprintf("%s DEBUG %s cache miss for %s\n", now.Format(stamp), request, path)
	}
	return fmt.Sprintf("%s INFO %s user=u%d rendered %s in %d ms\n", now.Format(stamp), request, r.IntN(300), path, 2+r.IntN(60))
}

func databaseLine(now time.Time, r *rand.Rand) string {
	at := now.Format("2006-01-02 15:04:05.000 -07:00")
	switch dice := r.IntN(2000); {
	case dice == 0:
		return at + " FATAL could not extend file \"base/16384/24576\": Disk Full (No space left on device)\n"
	case dice < 20:
		return fmt.Sprintf("%s WARN duration: %d ms statement: SELECT * FROM orders WHERE customer = %d\n", at, 500+r.IntN(4000), r.IntN(9000))
	}
	return fmt.Sprintf("%s INFO checkpoint complete: wrote %d buffers\n", at, r.IntN(900))
}

// flood writes very many lines at once.
func (f *fleet) flood(ctx context.Context) error {
	name := pageServer
	if names := f.loaded(); len(names) > 0 {
		name = names[0]
	}
	for burst := range 50 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var text strings.Builder
		at := time.Now().Format(stamp)
		for i := range 1000 {
			fmt.Fprintf(&text, "%s DEBUG flood line %d of 50000: somebody has left the debug level on\n", at, burst*1000+i+1)
		}
		if err := f.write(name, "flood.log", text.String()); err != nil {
			return err
		}
	}
	return nil
}
