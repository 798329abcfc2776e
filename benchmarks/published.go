package main

// A hitRow is a trace with a capacity, and the hit ratios in percent that were
// published for the two policies of golang-fifo, which the module proxy
// refuses. Both are free of chance, so the figures need no repetition.
type hitRow struct {
	trace         string
	capacity      int
	s3fifo, sieve float64
}

var hitRows = []hitRow{
	{"scarab-recs", 2583, 41.73, 40.81},
	{"scarab-recs", 12918, 54.96, 53.86},
	{"scarab-recs", 51673, 69.56, 68.72},
	{"cloudphysics-w106", 424, 70.54, 71.88},
	{"cloudphysics-w106", 2123, 82.91, 82.68},
	{"cloudphysics-w106", 8495, 87.75, 87.79},
	{"libcachesim-w92", 489, 16.72, 17.08},
	{"libcachesim-w92", 2448, 20.13, 18.28},
	{"libcachesim-w92", 9794, 32.6, 28.38},
	{"arc-oltp", 1868, 46.41, 40.29},
	{"arc-oltp", 9344, 61.39, 59.99},
	{"arc-oltp", 37376, 72.28, 72.24},
	{"arc-p3", 4265, 2.18, 1.63},
	{"arc-p3", 21326, 11.19, 5.53},
	{"arc-p3", 85305, 41.95, 33.82},
	{"arc-p6", 3260, 2.91, 2.54},
	{"arc-p6", 16304, 12.94, 5.61},
	{"arc-p6", 65217, 35.72, 31.91},
	{"arc-p12", 6391, 7.78, 6.49},
	{"arc-p12", 31959, 20.51, 18.51},
	{"arc-p12", 127837, 47.71, 46.39},
	{"cache2k-orm-busy", 607, 71.74, 68.33},
	{"cache2k-orm-busy", 3036, 82.74, 82.49},
	{"cache2k-orm-busy", 12146, 90.3, 90.69},
	{"cache2k-orm-night", 564, 59.93, 57.25},
	{"cache2k-orm-night", 2823, 76.29, 76.33},
	{"cache2k-orm-night", 11292, 94.31, 94.64},
	{"cache2k-web12", 137, 40.76, 40.25},
	{"cache2k-web12", 687, 64.18, 63.52},
	{"cache2k-web12", 2751, 77.58, 77.46},
	{"cache2k-web07", 204, 43.34, 42.32},
	{"cache2k-web07", 1024, 54.05, 53.44},
	{"cache2k-web07", 4096, 62.51, 62.56},
	{"webcdn-adaptsize", 368, 25.95, 26.14},
	{"webcdn-adaptsize", 1840, 35.22, 34.23},
	{"webcdn-adaptsize", 7363, 40.12, 40.16},
	{"corda-vault", 904, 33.33, 0.66},
	{"corda-vault", 4523, 33.33, 3.33},
	{"corda-vault", 18093, 33.33, 13.33},
	{"lirs-2pools", 99, 44.18, 47.7},
	{"lirs-2pools", 496, 51.87, 51.84},
	{"lirs-2pools", 1987, 59.26, 59.28},
	{"lirs-sprite", 70, 21.11, 19.29},
	{"lirs-sprite", 353, 66.76, 60.53},
	{"lirs-sprite", 1415, 91.43, 90.08},
	{"lirs-multi3", 74, 15.8, 7.58},
	{"lirs-multi3", 372, 35.09, 29.09},
	{"lirs-multi3", 1490, 50.54, 46.48},
	{"lirs-gli", 126, 1.13, 1.38},
	{"lirs-gli", 505, 16.26, 1.38},
	{"lirs-gli", 1264, 36.61, 41.31},
	{"corda+loop+corda", 512, 33.55, 0.2},
	{"corda+loop+corda", 1024, 76.58, 0.39},
	{"corda+loop+corda", 2048, 76.58, 0.79},
}
