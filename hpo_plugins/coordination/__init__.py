"""Who trains what, safely for any number of processes: leases on trials, their acquisition and their end."""
