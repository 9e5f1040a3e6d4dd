package measure

var (
	StatCPU  = statCPU
	StatBusy = statBusy
	SchedCPU = schedCPU
)
