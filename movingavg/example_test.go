package movingavg_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/movingavg"
)

func ExampleSimple() {
	latency := movingavg.NewSimple[int](3)
	for _, ms := range []int{10, 20, 30, 40} {
		latency.Add(ms)
		mean, _ := latency.Value()
		fmt.Println(mean)
	}
	// Output:
	// 10
	// 15
	// 20
	// 30
}

// An outlier leaves no trace once it has left the window.
func ExampleSimple_drift() {
	sum := 0.0
	exact := movingavg.NewSimple[float64](2)
	values := []float64{1e17, 1, 2, 3}
	for i, v := range values {
		exact.Add(v)
		sum += v
		if i >= 2 {
			sum -= values[i-2]
		}
	}
	mean, _ := exact.Value()
	fmt.Println("running sum:", sum/2, "Simple:", mean)
	// Output: running sum: 1 Simple: 2.5
}

// There is an average from the first value on, and no zeros before it.
func ExampleExp() {
	load := movingavg.NewExp(movingavg.HalfLife(1))
	for _, v := range []float64{8, 8, 0, 0} {
		load.Add(v)
		mean, _ := load.Value()
		fmt.Printf("%.2f\n", mean)
	}
	// Output:
	// 8.00
	// 8.00
	// 3.43
	// 1.60
}

// The pace of samples does not matter, only their age does.
func ExampleTimedExp() {
	temperature := movingavg.NewTimedExp(time.Minute, nil)
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	temperature.AddAt(noon, 20)
	temperature.AddAt(noon.Add(2*time.Minute), 25)
	mean, _ := temperature.Value()
	fmt.Println(mean)
	// Output: 24
}

func ExampleWindow() {
	sizes := movingavg.NewWindow(time.Minute, &movingavg.TimedOptions{Resolution: time.Second})
	noon := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for i, kb := range []float64{900, 2, 4, 6} {
		sizes.AddAt(noon.Add(time.Duration(i)*25*time.Second), kb)
	}
	s := sizes.SummaryAt(noon.Add(75 * time.Second)) // the first is older than a minute
	fmt.Printf("%d values from %v to %v, mean %v, deviation %.2f, %v a second\n", s.Count, s.Min, s.Max, s.Mean, s.StdDev(), s.Rate())
	// Output: 3 values from 2 to 6, mean 4, deviation 1.63, 0.05 a second
}

func ExampleOver() {
	values := slices.Values([]float64{1, 2, 3, 4})
	for mean := range movingavg.Over(movingavg.NewSimple[float64](2), values) {
		fmt.Println(mean)
	}
	// Output:
	// 1
	// 1.5
	// 2.5
	// 3.5
}

func ExampleLocked() {
	requests := movingavg.NewLocked[float64](movingavg.NewWindow(time.Minute, nil))
	requests.Add(12) // by any goroutine
	requests.Do(func(w *movingavg.Window) {
		fmt.Println(w.Summary().Max)
	})
	// Output: 12
}

// An average survives a restart.
func ExampleSimple_MarshalBinary() {
	before := movingavg.NewSimple[int](2)
	before.Add(1)
	before.Add(3)
	state, err := before.MarshalBinary()
	if err != nil {
		fmt.Println(err)
	}

	after := movingavg.NewSimple[int](2)
	if err := after.UnmarshalBinary(state); err != nil {
		fmt.Println(err)
	}
	after.Add(5)
	fmt.Println(after.Value())
	// Output: 4 true
}
