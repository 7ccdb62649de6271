module outrigger/tools/smuggling

go 1.25.7
