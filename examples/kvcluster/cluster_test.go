package kvcluster

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every node answers for all keys.
func TestEveryNodeAnswersForAllKeys(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 5, nil)
	for i := range 100 {
		name := fmt.Sprintf("n%d", i%5+1)
		require.NoError(t, c.client(name).Set(t.Context(), fmt.Sprint("key", i), fmt.Sprint("value", i), 0).Err())
	}
	for i := range 5 {
		r := c.client(fmt.Sprintf("n%d", i+1))
		for k := range 100 {
			got, err := r.Get(t.Context(), fmt.Sprint("key", k)).Result()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("value", k), got)
		}
		// A count is asked of one owner, who may be the last to hear of a write.
		c.await("every key is counted", func() bool {
			n, err := r.DBSize(t.Context()).Result()
			require.NoError(t, err)
			require.LessOrEqual(t, n, int64(100))
			return n == 100
		})
	}
}
